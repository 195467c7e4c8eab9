"""The arms against the human texts: pairs of equal length, their features, and MAUVE with a note that says what it is.

A pair is a generated and a human continuation of one prompt, both cut to the shorter one's number of tokens: texts of
unequal length differ in their last hidden state whatever they say, and MAUVE then collapses (0.035 where 0.8 was due:
github.com/yxuansu/SimCTG issue 7). A text that has no partner, or no tokens, is missing on both sides (mauve-text drops
empty texts without a word).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from cdeval.config.enums import Codebook
from cdeval.config.schema import MetricsConfig
from cdeval.metrics import frontier
from cdeval.metrics.codebook import (
    MEASURES,
    TRUSTED,
    Codes,
    bucket_count,
    mauve_interval,
    published_scores,
    quantise,
    unavailable,
)
from cdeval.metrics.compare import Settings
from cdeval.metrics.features import NO_CACHE, FeatureCache
from cdeval.metrics.judges.hidden_states import last_hidden_features
from cdeval.metrics.judges.scorer import TextReader, context_length
from cdeval.metrics.stats import FEW, FEWEST, IN_GROUPS, MANY
from cdeval.records import HUMAN_TEXTS, Estimate, Generation

TokenIds = tuple[int, ...]
Arms = Mapping[str, Sequence[Generation]]
Features = Mapping[TokenIds, Float32[np.ndarray, " width"]]


class Pair(NamedTuple):
    """Two continuations of one prompt, as many tokens each."""

    id: str  # of the prompt
    human: TokenIds
    generated: TokenIds


@dataclass(frozen=True, slots=True)
class MauveOfArms:
    """MAUVE and its relatives, by arm, and what figures and comparisons are made of."""

    estimates: dict[str, dict[str, Estimate]]  # arm -> each of MEASURES; NaN with the reason where there is no value
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # arm -> points of its divergence curve,
    #                                            (1, 0) to (0, 1), mean over the k-means seeds; arms with a value only
    codes: dict[str, Codes] = field(default_factory=dict)  # for `compare_mauve`; arms with a value only


def mauve_of_arms(
    arms: Arms,
    human: Sequence[Generation] | None,
    reader: TextReader,
    config: MetricsConfig,
    seed: int,
    cache: FeatureCache = NO_CACHE,
) -> MauveOfArms:
    """MAUVE, MAUVE* and frontier integral of each arm against the human texts.

    Args:
        arms: continuations by label. The human texts may be one of them: it has no value and is not clustered twice.
        human: the human continuations, one a prompt; None where there are none.
        reader: whose last hidden states are clustered.
        config: k-means seeds, whose texts share a codebook, confidence and draws.
        seed: of k-means and of the resamples.
        cache: of the features.
    """
    obstacle = "no human texts to compare with" if not human else unavailable(config.mauve_codebook)
    if obstacle:
        return MauveOfArms({label: _no_value(obstacle, len(generations)) for label, generations in arms.items()})
    pairs = {label: pair_up(generations, human or [], reader) for label, generations in arms.items()}
    estimates = {label: _why_not(pairs[label], len(generations)) for label, generations in arms.items()}
    scored = {label: of_arm for label, of_arm in pairs.items() if estimates[label] is None}
    codes, published = _codes(scored, reader, config, seed, cache)
    for label, of_arm in scored.items():
        note = describe(codes[label], of_arm, reader.scorer.name, config, len(scored))
        estimates[label] = _estimates(
            codes[label], published.get(label), note, len(arms[label]) - len(of_arm), _settings(config, seed)
        )
    curves = {label: _curve(of_arm) for label, of_arm in codes.items()}
    return MauveOfArms({label: found or {} for label, found in estimates.items()}, curves, codes)


def pair_up(generated: Sequence[Generation], human: Sequence[Generation], reader: TextReader) -> list[Pair]:
    """The pairs of one arm, each cut to its shorter side and to the reader's context."""
    partners = {generation.id: generation.token_ids for generation in reader.read(human)}
    pairs = []
    for generation in reader.read(generated):
        ours, theirs = generation.token_ids, partners.get(generation.id, ())
        length = min(len(ours), len(theirs), context_length(reader.scorer) or len(ours))
        if length:
            pairs.append(Pair(generation.id, human=theirs[:length], generated=ours[:length]))
    return pairs


def describe(codes: Codes, pairs: Sequence[Pair], featurizer: str, config: MetricsConfig, arms: int) -> str:
    """All that another MAUVE must share to be comparable, and how far to trust this one."""
    lengths = sorted({len(pair.human) for pair in pairs})
    tokens = f"{lengths[0]}" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    by_seed = MEASURES["mauve"](codes.whole())
    spread = "" if len(by_seed) < 2 else f" (sd {by_seed.std(ddof=1):.3f})"
    if config.mauve_codebook is Codebook.pairwise:
        book = "clustered by mauve-text anew for each arm"
    else:
        book = "clustered with the human texts" if arms == 1 else f"clustered with the human texts and all {arms} arms"
    few = len(pairs) < FEWEST
    parts = [
        f"last hidden state of {featurizer} over {tokens} tokens, {len(pairs)} texts a side, {codes.clusters} "
        f"clusters, {book}, mean of {config.mauve_seeds} k-means seeds{spread}",
        FEW if few else "interval by resampling prompts and codebooks",
    ]
    if len({pair.id for pair in pairs}) > MANY:
        parts.append(IN_GROUPS)
    if len(pairs) < TRUSTED:
        noise = "differences below 0.1 are noise" if len(pairs) < 300 else "small differences are noise"
        parts.append(f"too few texts for MAUVE, which needs thousands: biased by sample size, {noise}")
    return "; ".join(parts)


def _codes(
    scored: Mapping[str, Sequence[Pair]], reader: TextReader, config: MetricsConfig, seed: int, cache: FeatureCache
) -> tuple[dict[str, Codes], dict[str, dict[str, float]]]:
    """The clusters of each arm's texts, and what mauve-text says where it was asked."""
    if not scored:
        return {}, {}
    # The human texts are in every arm's pairs: each distinct text is read once.
    texts = {text: pair.id for pairs in scored.values() for pair in pairs for text in (pair.generated, pair.human)}
    states = last_hidden_features(reader.scorer, list(texts), cache, list(texts.values()))
    features = dict(zip(texts, states, strict=True))
    seeds = range(seed, seed + config.mauve_seeds)
    if config.mauve_codebook is Codebook.shared:
        return _shared_codes(scored, features, seeds), {}
    codes: dict[str, Codes] = {}
    published: dict[str, dict[str, float]] = {}
    for label, pairs in scored.items():
        codes |= _shared_codes({label: pairs}, features, seeds)
        human, generated = (np.stack([features[text] for text in side]) for side in list(zip(*pairs, strict=True))[1:])
        by_seed = published_scores(human, generated, codes[label].clusters, seeds)
        published[label] = dict(zip(MEASURES, np.mean(by_seed, axis=0).tolist(), strict=True))
    return codes, published


def _shared_codes(scored: Mapping[str, Sequence[Pair]], features: Features, seeds: range) -> dict[str, Codes]:
    """One clustering of all arms and the human texts; as many clusters as the arm with the most texts asks for.

    Arms are stacked by label, so that their order in the study decides nothing, and the human texts, once a prompt and
    length, after them.
    """
    human = list(dict.fromkeys((pair.id, pair.human) for label in sorted(scored) for pair in scored[label]))
    stacked = [pair.generated for label in sorted(scored) for pair in scored[label]] + [text for _, text in human]
    clusters = bucket_count(max(len(pairs) for pairs in scored.values()))
    labels = quantise(np.stack([features[text] for text in stacked]), clusters, seeds)
    row = {partner: len(stacked) - len(human) + index for index, partner in enumerate(human)}
    found, start = {}, 0
    for label in sorted(scored):
        pairs = scored[label]
        found[label] = Codes(
            tuple(pair.id for pair in pairs),
            human=labels[[row[pair.id, pair.human] for pair in pairs]],
            generated=labels[start : start + len(pairs)],
            clusters=clusters,
        )
        start += len(pairs)
    return {label: found[label] for label in scored}


def _estimates(
    codes: Codes, published: Mapping[str, float] | None, note: str, missing: int, settings: Settings
) -> dict[str, Estimate]:
    found = {}
    for name, measure in MEASURES.items():
        value = float(measure(codes.whole()).mean()) if published is None else published[name]
        ends = mauve_interval(value, codes, name, settings)
        found[name] = Estimate(value, ends.low, ends.high, n=len(codes.ids), missing=missing, note=note)
    return found


def _why_not(pairs: Sequence[Pair], texts: int) -> dict[str, Estimate] | None:
    """Why an arm has no value; None where it has one."""
    if len(pairs) < 2:
        return _no_value("fewer than two texts have a human partner", texts)
    if all(pair.human == pair.generated for pair in pairs):
        return _no_value(HUMAN_TEXTS, texts - len(pairs), n=len(pairs))
    return None


def _curve(codes: Codes) -> list[tuple[float, float]]:
    shares = frontier.normalised(codes.whole())
    mean: Float[np.ndarray, "point 2"] = frontier.divergence_curve(shares[:, 0], shares[:, 1]).mean(axis=0)
    return [(float(x), float(y)) for x, y in mean]


def _settings(config: MetricsConfig, seed: int) -> Settings:
    return Settings(config.confidence, config.bootstrap_draws, seed)


def _no_value(note: str, missing: int, n: int = 0) -> dict[str, Estimate]:
    return {name: Estimate(math.nan, math.nan, math.nan, n=n, missing=missing, note=note) for name in MEASURES}
