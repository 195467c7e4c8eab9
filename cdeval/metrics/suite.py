"""All metrics over all arms of a study, the cheap ones first.

What arms share is computed once: the embeddings of the prompts, the features of the human texts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Num
from numpy.typing import NDArray

from cdeval.config import MetricsConfig
from cdeval.metrics import diversity
from cdeval.metrics.codebook import MEASURES
from cdeval.metrics.coherence import coherence_rows, loglik_rows
from cdeval.metrics.embedder import Embedder, load_embedder
from cdeval.metrics.features import NO_CACHE, FeatureCache
from cdeval.metrics.human import mauve_of_arms
from cdeval.metrics.perplexity import describe, nll_rows, perplexity
from cdeval.metrics.scorer import Reader, Scorer
from cdeval.metrics.stats import Statistic, interval, mean
from cdeval.records import Estimate, Generation

METRICS = (
    *("diversity", "rep_2", "rep_3", "rep_4", *MEASURES),
    *("coherence", "coherence_loglik", "perplexity_expert", "tokens"),
)

Arms: TypeAlias = Mapping[str, Sequence[Generation]]
Scores: TypeAlias = dict[str, dict[str, Estimate]]  # arm -> metric -> number


@dataclass(frozen=True, slots=True)
class Judges:
    """The models that score."""

    scorer: Scorer  # the expert: the generations' token ids are its tokens
    embedder: str | Embedder  # for coherence; a name (folder or hub id) is loaded for as long as it is needed
    featurizer: Scorer | None = None  # for MAUVE; None is the scorer itself
    likelihood: Scorer | None = None  # for perplexity and log-likelihood coherence; None is the scorer itself
    wrote: bool = True  # whether the scorer generated the arms' texts
    cache: FeatureCache = NO_CACHE  # of what the models say about each text


def score_arms(
    arms: Arms, human: Sequence[Generation] | None, judges: Judges, config: MetricsConfig, seed: int = 0
) -> Scores:
    """Score every arm by every metric of `METRICS`, in that order.

    Args:
        arms: continuations by label; the human texts may be one of them. An arm holds a prompt once; arms may differ in
            their prompts.
        human: the human continuations, which MAUVE compares with; None where the prompts have none.
        judges: the models.
        config: k-means seeds, confidence and draws. Its model names are the caller's to resolve.
        seed: of the resamples and of k-means.

    Raises:
        ValueError: an arm holds a prompt twice, or a prompt has no tokens.
        ModelError: the embedder cannot be read, or a text is longer than the scorer's context.
        HubError: the embedder is on the hub, which cannot be reached.
    """
    for label, generations in (*arms.items(), ("human", human or ())):
        _check_ids(label, generations)
    scores: Scores = {label: {} for label in arms}
    for label, generations in arms.items():
        scores[label] |= _length_and_repetition(generations, config, seed)
    for label, estimate in _coherence(arms, judges, config, seed).items():
        scores[label]["coherence"] = estimate
    for label, generations in arms.items():
        scores[label] |= _likelihood(generations, judges, config, seed)
    featurizer = Reader(judges.featurizer or judges.scorer, retokenise=judges.featurizer is not None)
    for label, estimates in mauve_of_arms(arms, human, featurizer, config, seed, judges.cache).estimates.items():
        scores[label] |= estimates
    return {label: {name: found[name] for name in METRICS} for label, found in scores.items()}


@dataclass(frozen=True, slots=True)
class _Rows:
    """What one metric knows of each text."""

    values: Num[np.ndarray, "text column"]  # NaN where the text has no value
    missing: int  # texts without a value
    note: str = ""

    def estimate(self, statistic: Statistic, config: MetricsConfig, seed: int) -> Estimate:
        """The statistic of the texts that have a value, and its interval."""
        present = self.values[~np.isnan(self.values).any(axis=1)]
        n = len(self.values) - self.missing
        if n == 0:
            reason = "no text has a value"
            return Estimate(math.nan, math.nan, math.nan, 0, self.missing, "; ".join(filter(None, (reason, self.note))))
        ends = interval(present, statistic, config.confidence, config.bootstrap_draws, seed)
        return Estimate(float(statistic(present)), ends.low, ends.high, n, self.missing, self.note)


def _with_gaps(values: Num[np.ndarray, "text column"], note: str) -> _Rows:
    return _Rows(values, int(np.isnan(values).any(axis=1).sum()), note)


def _length_and_repetition(generations: Sequence[Generation], config: MetricsConfig, seed: int) -> dict[str, Estimate]:
    lengths = np.array([len(generation.token_ids) for generation in generations], dtype=np.float64).reshape(-1, 1)
    counts = diversity.ngram_counts([generation.continuation for generation in generations])
    longest = max(diversity.ORDERS)

    def of_ngrams(statistic: Statistic, order: int) -> Estimate:
        rows = _Rows(counts, diversity.without_ngrams(counts, order), "over whitespace-separated words")
        return rows.estimate(statistic, config, seed)

    return {
        "tokens": _Rows(lengths, 0, "mean").estimate(mean, config, seed),
        "diversity": of_ngrams(diversity.diversity, longest),
        **{f"rep_{order}": of_ngrams(partial(_rep, order=order), order) for order in diversity.ORDERS},
    }


def _rep(counts: NDArray[Any], order: int) -> NDArray[np.float64]:
    return np.asarray(diversity.repetition(counts)[..., diversity.ORDERS.index(order)])


def _coherence(arms: Arms, judges: Judges, config: MetricsConfig, seed: int) -> dict[str, Estimate]:
    """Coherence arm by arm; an embedder that is loaded here is gone afterwards, and its memory with it."""
    device = judges.scorer.model.device
    loaded = isinstance(judges.embedder, str)
    embedder = (
        load_embedder(judges.embedder, str(device), pooling=config.embedder_pooling, tokens=config.embedder_tokens)
        if isinstance(judges.embedder, str)
        else judges.embedder
    )
    rows = coherence_rows(list(arms.values()), embedder, judges.cache)
    note = embedder.note
    del embedder
    if loaded and device.type == "cuda":
        torch.cuda.empty_cache()
    return {
        label: _with_gaps(values, note).estimate(mean, config, seed) for label, values in zip(arms, rows, strict=True)
    }


def _likelihood(
    generations: Sequence[Generation], judges: Judges, config: MetricsConfig, seed: int
) -> dict[str, Estimate]:
    reader = Reader(judges.likelihood or judges.scorer, retokenise=judges.likelihood is not None)
    rows = nll_rows(reader.scorer, [reader.read(generation) for generation in generations], judges.cache)
    wrote = judges.wrote and reader.scorer.fingerprint == judges.scorer.fingerprint
    note = describe(reader.scorer.name, retokenised=reader.retokenise, wrote_the_texts=wrote)
    return {
        "perplexity_expert": _with_gaps(rows, note).estimate(perplexity, config, seed),
        "coherence_loglik": _with_gaps(loglik_rows(rows), f"mean over texts, {note}").estimate(mean, config, seed),
    }


def _check_ids(label: str, generations: Sequence[Generation]) -> None:
    """Prompts are the units of every interval: two continuations of one prompt would count as independent."""
    seen: set[str] = set()
    for generation in generations:
        if generation.id in seen:
            raise ValueError(
                f"arm {label!r} continues prompt {generation.id!r} twice: expected one continuation a prompt"
            )
        seen.add(generation.id)
