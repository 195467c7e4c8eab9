"""The arms beside the human texts: pairs of equal length, their features and their clusters, with a note on them.

A pair is a generated and a human continuation of one prompt, both cut to the shorter one's number of tokens: texts of
unequal length differ in their last hidden state whatever they say, and MAUVE then collapses (0.035 where 0.8 was due:
github.com/yxuansu/SimCTG issue 7). A text that has no partner, or no tokens, is missing on both sides (mauve-text drops
empty texts without a word).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from cdeval.config.enums import Codebook
from cdeval.config.schema import MetricsConfig
from cdeval.metrics.codebook import (
    TRUSTED,
    Codes,
    bucket_count,
    mauve,
    published_scores,
    quantise,
    unavailable,
)
from cdeval.metrics.features import NO_CACHE, FeatureCache
from cdeval.metrics.judges.hidden_states import last_hidden_features
from cdeval.metrics.judges.scorer import TextReader, context_length
from cdeval.metrics.stats import FEW, FEWEST, IN_GROUPS, MANY
from cdeval.records import HUMAN_TEXTS, Generation, document_of

TokenIds = tuple[int, ...]
Features = Mapping[TokenIds, Float32[np.ndarray, " width"]]


class Pair(NamedTuple):
    """Two continuations of one prompt, as many tokens each."""

    id: str  # of the prompt
    human: TokenIds
    generated: TokenIds


@dataclass(frozen=True, slots=True)
class ClusteredArm:
    """An arm beside the human texts."""

    texts: int  # of the arm
    pairs: Sequence[Pair] = ()  # those that have a human partner
    codes: Codes | None = None
    published: Sequence[float] = ()  # what mauve-text says, in the order of `codebook.Published`; empty: not asked
    note: str = ""  # what it is; without codes, why there is none

    @property
    def scored(self) -> int:
        """The number of texts that enter; a single one is not compared."""
        return len(self.pairs) if len(self.pairs) > 1 else 0


def cluster_arms(
    arms: Mapping[str, Sequence[Generation]],
    human: Sequence[Generation] | None,
    reader: TextReader,
    config: MetricsConfig,
    seed: int,
    cache: FeatureCache = NO_CACHE,
) -> dict[str, ClusteredArm]:
    """Cluster the texts of all arms together with the human ones.

    Args:
        arms: continuations by label. The human texts may be one of them: they are not clustered twice.
        human: the human continuations, one a prompt; None where there are none.
        reader: whose last hidden states are clustered.
        config: k-means seeds, and whose texts share a codebook.
        seed: of k-means.
        cache: of the features.
    """
    obstacle = "no human texts to compare with" if not human else unavailable(config.mauve_codebook)
    if obstacle:
        return {label: ClusteredArm(len(texts), note=obstacle) for label, texts in arms.items()}
    pairs = {label: pair_up(texts, human or [], reader) for label, texts in arms.items()}
    reasons = {label: _why_not(of_arm) for label, of_arm in pairs.items()}
    scored = {label: of_arm for label, of_arm in pairs.items() if not reasons[label]}
    codes, published = _codes(scored, reader, config, seed, cache)
    found = {}
    for label, texts in arms.items():
        known = codes.get(label)
        note = describe(known, pairs[label], reader.scorer.name, config, len(scored)) if known else reasons[label]
        found[label] = ClusteredArm(len(texts), pairs[label], known, published.get(label, ()), note)
    return found


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
    """Say what another MAUVE must share to be comparable, and how far to trust this one."""
    lengths = sorted({len(pair.human) for pair in pairs})
    tokens = f"{lengths[0]}" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    by_seed = mauve(codes.whole())
    spread = "" if len(by_seed) < 2 else f" (sd {by_seed.std(ddof=1):.3f})"
    if config.mauve_codebook is Codebook.pairwise:
        book = "clustered by mauve-text anew for each arm"
    else:
        book = "clustered with the human texts" if arms == 1 else f"clustered with the human texts and all {arms} arms"
    few = len({document_of(pair.id) for pair in pairs}) < FEWEST
    parts = [
        f"last hidden state of {featurizer} over {tokens} tokens, {len(pairs)} texts a side, {codes.clusters} "
        f"clusters, {book}, mean of {config.mauve_seeds} k-means seeds{spread}",
        FEW if few else "interval by resampling prompts and codebooks",
    ]
    if len({document_of(pair.id) for pair in pairs}) > MANY:
        parts.append(IN_GROUPS)
    if len(pairs) < TRUSTED:
        noise = "differences below 0.1 are noise" if len(pairs) < 300 else "small differences are noise"
        parts.append(f"too few texts for MAUVE, which needs thousands: biased by sample size, {noise}")
    return "; ".join(parts)


def _codes(
    scored: Mapping[str, Sequence[Pair]], reader: TextReader, config: MetricsConfig, seed: int, cache: FeatureCache
) -> tuple[dict[str, Codes], dict[str, list[float]]]:
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
    published: dict[str, list[float]] = {}
    for label, pairs in scored.items():
        codes |= _shared_codes({label: pairs}, features, seeds)
        human, generated = (np.stack([features[text] for text in side]) for side in list(zip(*pairs, strict=True))[1:])
        by_seed = published_scores(human, generated, codes[label].clusters, seeds)
        published[label] = np.mean(by_seed, axis=0).tolist()
    return codes, published


def _shared_codes(scored: Mapping[str, Sequence[Pair]], features: Features, seeds: range) -> dict[str, Codes]:
    """Cluster all arms and the human texts together; the arm with the most texts says into how many clusters.

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


def _why_not(pairs: Sequence[Pair]) -> str:
    """Why an arm is not clustered; empty where it is."""
    if len(pairs) < 2:
        return "fewer than two texts have a human partner"
    return HUMAN_TEXTS if all(pair.human == pair.generated for pair in pairs) else ""
