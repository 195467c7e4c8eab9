"""The arms against the human texts: pairs of equal length, their features, and MAUVE with a note that says what it is.

A pair is a generated and a human continuation of one prompt, both cut to the shorter one's number of tokens: texts of
unequal length differ in their last hidden state whatever they say, and MAUVE then collapses (0.035 where 0.8 was due:
github.com/yxuansu/SimCTG issue 7). A text that has no partner, or no tokens, is missing on both sides.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from cdeval.config import MetricsConfig
from cdeval.metrics.mauve import TRUSTED, MauveScore, last_hidden_features, mauve_score, unavailable
from cdeval.metrics.scorer import Scorer, context_length
from cdeval.records import Estimate, Generation

TokenIds = tuple[int, ...]


class Pair(NamedTuple):
    """Two continuations of one prompt, as many tokens each."""

    human: TokenIds
    generated: TokenIds


class Featurizer(NamedTuple):
    """Whose last hidden state is clustered."""

    scorer: Scorer
    retokenise: bool  # the generations' token ids are another model's

    def tokens(self, generation: Generation) -> TokenIds:
        """The continuation in this model's tokens, without special tokens of its own."""
        if not self.retokenise:
            return generation.token_ids
        return tuple(self.scorer.tokenizer(generation.continuation, add_special_tokens=False)["input_ids"])


def mauve_estimates(
    arms: Mapping[str, Sequence[Generation]],
    human: Sequence[Generation] | None,
    featurizer: Featurizer,
    config: MetricsConfig,
    seed: int,
) -> dict[str, Estimate]:
    """MAUVE of each arm against the human texts; NaN, with the reason as its note, where there is no value."""
    obstacle = "no human texts to compare with" if not human else unavailable()
    if obstacle:
        return {label: _no_value(obstacle, len(generations)) for label, generations in arms.items()}
    pairs = {label: pair_up(generations, human or [], featurizer) for label, generations in arms.items()}
    # The human texts are in every arm's pairs: each distinct text is read once.
    distinct = dict.fromkeys(text for of_arm in pairs.values() if not _same(of_arm) for pair in of_arm for text in pair)
    features = (
        dict(zip(distinct, last_hidden_features(featurizer.scorer, list(distinct)), strict=True)) if distinct else {}
    )
    seeds = range(seed, seed + config.mauve_seeds)

    def estimate(generations: Sequence[Generation], of_arm: Sequence[Pair]) -> Estimate:
        missing = len(generations) - len(of_arm)
        if len(of_arm) < 2:
            return _no_value("fewer than two texts have a human partner", len(generations))
        if _same(of_arm):
            return _no_value("these are the human texts", missing, n=len(of_arm))
        score = mauve_score(
            _rows(features, [pair.human for pair in of_arm]),
            _rows(features, [pair.generated for pair in of_arm]),
            seeds,
            config.confidence,
        )
        note = describe(score, of_arm, featurizer.scorer.name, config.mauve_seeds)
        return Estimate(score.value, *score.interval, n=len(of_arm), missing=missing, note=note)

    return {label: estimate(arms[label], of_arm) for label, of_arm in pairs.items()}


def pair_up(generated: Sequence[Generation], human: Sequence[Generation], featurizer: Featurizer) -> list[Pair]:
    """The pairs of one arm, each cut to its shorter side and to the featurizer's context."""
    partners = {generation.id: featurizer.tokens(generation) for generation in human}
    pairs = []
    for generation in generated:
        ours, theirs = featurizer.tokens(generation), partners.get(generation.id, ())
        length = min(len(ours), len(theirs), context_length(featurizer.scorer) or len(ours))
        if length:
            pairs.append(Pair(human=theirs[:length], generated=ours[:length]))
    return pairs


def describe(score: MauveScore, pairs: Sequence[Pair], featurizer: str, seeds: int) -> str:
    """All that another MAUVE must share to be comparable, and how far to trust this one."""
    lengths = sorted({len(pair.human) for pair in pairs})
    tokens = f"{lengths[0]}" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    spread = "" if math.isnan(score.seed_sd) else f" (sd {score.seed_sd:.3f})"
    parts = [
        f"last hidden state of {featurizer} over {tokens} tokens, {len(pairs)} texts a side, {score.buckets} clusters, "
        f"mean of {seeds} k-means seeds{spread}",
        "no interval for so few texts" if math.isnan(score.interval.low) else "interval from half-samples of the texts",
    ]
    if len(pairs) < TRUSTED:
        noise = "differences below 0.1 are noise" if len(pairs) < 300 else "small differences are noise"
        parts.append(f"too few texts for MAUVE, which needs thousands: biased by sample size, {noise}")
    return "; ".join(parts)


def _same(pairs: Sequence[Pair]) -> bool:
    return all(pair.human == pair.generated for pair in pairs)


def _rows(
    features: Mapping[TokenIds, Float32[np.ndarray, " width"]], texts: Sequence[TokenIds]
) -> Float32[np.ndarray, "text width"]:
    return np.stack([features[text] for text in texts])


def _no_value(note: str, missing: int, n: int = 0) -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, n=n, missing=missing, note=note)
