"""The rank correlation, over settings, of the anti-loop margin with how varied the texts are, with an interval.

    ρ = Spearman's rank correlation of margin and diversity over settings            in [-1, 1]; 1: the same order

The same is asked of what the margin has to beat, the amateur's divergence from the expert, where −1 is the whole order.
Both sides are measured, so both are drawn anew: passages for all margins together, prompts for all diversities
together; the interval is the percentile one. It says how sure the order of *these* settings is; neighbouring layers are
no independent draws, and other settings may follow another rule.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from cdeval.metrics.diversity import diversity
from cdeval.metrics.stats import FEW, FEWEST
from cdeval.records import Estimate

LEAST = 4  # settings: fewer have no order to speak of
_ENDS = (0.025, 0.975)


def rank_correlation(
    predictors: Float[np.ndarray, "passage setting"],
    counts: Int[np.ndarray, "prompt setting 6"],
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Spearman's ρ between the settings' means over passages and their diversities.

    Args:
        predictors: `cdeval.lens.loops.passage_readings` of each setting, margins or divergences.
        counts: `cdeval.metrics.diversity.ngram_counts` of each setting's text, prompt by prompt.
        draws: resamples of passages and of prompts.
        seed: of the resamples.

    Returns: NaN for fewer than `LEAST` settings, or where all of one side are equal; no interval for fewer than
        `stats.FEWEST` passages or prompts; n counts settings.
    """
    settings = predictors.shape[1]
    if settings < LEAST:
        return Estimate(float("nan"), float("nan"), float("nan"), settings, 0)
    draw = np.random.default_rng(seed)
    value = _spearman(predictors.mean(axis=0)[None], _diversities(counts, np.ones((1, len(counts)))))
    if min(len(predictors), len(counts)) < FEWEST:
        return Estimate(float(value[0]), float("nan"), float("nan"), settings, 0, FEW)
    drawn = _weights(draw, draws, len(predictors)) @ predictors / len(predictors)
    found = _spearman(drawn, _diversities(counts, _weights(draw, draws, len(counts))))
    low, high = np.nanquantile(found, _ENDS) if not np.isnan(found).all() else (np.nan, np.nan)
    return Estimate(float(value[0]), float(low), float(high), settings, 0)


def _weights(draw: np.random.Generator, draws: int, units: int) -> Float[np.ndarray, "draw unit"]:
    """Draw how often each unit is in each resample."""
    return draw.multinomial(units, np.full(units, 1 / units), size=draws).astype(np.float64)


def _diversities(
    counts: Int[np.ndarray, "prompt setting 6"], weights: Float[np.ndarray, "draw prompt"]
) -> Float[np.ndarray, "draw setting"]:
    sums = np.einsum("dp,psc->dsc", weights, counts)
    return diversity(sums[:, :, None, :])


def _spearman(
    one: Float[np.ndarray, "draw setting"], other: Float[np.ndarray, "draw setting"]
) -> Float[np.ndarray, " draw"]:
    a, b = (_centred(rankdata(side, axis=1)) for side in (one, other))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)))


def _centred(ranks: Float[np.ndarray, "draw setting"]) -> Float[np.ndarray, "draw setting"]:
    return np.asarray(ranks - ranks.mean(axis=1, keepdims=True))


def groups(searches: Sequence[str], *facets: Sequence[str]) -> dict[str, list[int]]:
    """Group settings that are ranked together: those of one search, and among them those that one facet has in common.

    Args:
        searches: of each setting.
        facets: of each setting, what else it is told apart by: its lens, its α. Empty: it stands with every other one,
            as the expert alone does, from which nothing is subtracted.
    """
    found: dict[str, list[int]] = {}
    for search in dict.fromkeys(searches):
        mine = [place for place, each in enumerate(searches) if each == search]
        found[f"{search}, all"] = mine
        for facet in facets:
            kinds = dict.fromkeys(facet[place] for place in mine if facet[place])
            for kind in kinds if len(kinds) > 1 else ():
                found[f"{search}, {kind}"] = [place for place in mine if facet[place] in (kind, "")]
    return found
