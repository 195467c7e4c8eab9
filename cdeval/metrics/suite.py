"""All metrics over all arms of a study, the cheap ones first.

What arms share is computed once: the embeddings of the prompts, the features of the human texts.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch

from cdeval.config import MetricsConfig, ProtocolConfig
from cdeval.errors import ConfigError, did_you_mean
from cdeval.metrics.coherence import coherence_rows, load_embedder
from cdeval.metrics.human import Featurizer, mauve_estimates
from cdeval.metrics.judges import Judges
from cdeval.metrics.perplexity import nll_rows, perplexity
from cdeval.metrics.rows import Rows, mean_rows
from cdeval.metrics.scorer import Scorer
from cdeval.metrics.wording import EXTRAS, WORDING, extra_estimates, wording_rows
from cdeval.models.loading import choose_device
from cdeval.records import Estimate, Generation

METRICS = (*WORDING[:4], "mauve", "coherence", "perplexity_expert", "tokens", *WORDING[4:])

Arms: TypeAlias = Mapping[str, Sequence[Generation]]
Scores: TypeAlias = dict[str, dict[str, Estimate]]  # arm -> metric -> number

_PROTOCOL = ProtocolConfig()


def chosen_metrics(config: MetricsConfig) -> tuple[str, ...]:
    """What is computed, in the order in which it is reported.

    Raises: ConfigError: metrics.only names something else.
    """
    for name in config.only:
        if name not in (*METRICS, *EXTRAS):
            raise ConfigError(f"metrics.only: there is no metric {name!r}. {did_you_mean(name, (*METRICS, *EXTRAS))}")
    if config.only:
        wanted = set(config.only) | (set(EXTRAS) if config.extras else set())
        return tuple(name for name in (*METRICS, *EXTRAS) if name in wanted)
    return (*METRICS, *EXTRAS) if config.extras else METRICS


def score_arms(
    arms: Arms,
    human: Sequence[Generation] | None,
    judges: Judges,
    config: MetricsConfig,
    seed: int = 0,
    protocol: ProtocolConfig = _PROTOCOL,
) -> Scores:
    """Score every arm by every metric of `chosen_metrics`, in that order.

    Args:
        arms: continuations by label; the human texts may be one of them. Generations of one id are samples of one
            prompt, and one unit of the intervals; arms may differ in their prompts. MAUVE reads first samples only.
        human: the human continuations, which MAUVE compares with; None where the prompts have none.
        judges: the models.
        config: which metrics, k-means seeds, confidence and draws. Its model names are the caller's to resolve.
        seed: of the resamples, of k-means and of what self-BLEU compares.
        protocol: whose definitions.

    Raises:
        ValueError: a prompt has no tokens, or a metric's model is missing.
        ConfigError: an unknown metric is asked for.
        ModelError: the embedder cannot be read, or a text is longer than the scorer's context.
        HubError: the embedder is on the hub, which cannot be reached.
    """
    names = chosen_metrics(config)
    rows = measure_arms(arms, judges, config, protocol)
    scores: Scores = {
        label: {name: found.estimate(config, seed) for name, found in of_arm.items()} for label, of_arm in rows.items()
    }
    for label, generations in arms.items():
        scores[label] |= extra_estimates(generations, names, seed)
    if "mauve" in names:
        featurizer = Featurizer(judges.featurizer or judges.required_scorer(), retokenise=judges.featurizer is not None)
        first = {label: _first_samples(generations) for label, generations in arms.items()}
        for label, estimate in mauve_estimates(first, human, featurizer, config, seed).items():
            scores[label]["mauve"] = estimate
    return {label: {name: found[name] for name in names} for label, found in scores.items()}


def measure_arms(
    arms: Arms, judges: Judges, config: MetricsConfig, protocol: ProtocolConfig = _PROTOCOL
) -> dict[str, dict[str, Rows]]:
    """The rows of every chosen metric that scores text by text: what intervals and paired differences are made of.

    Raises: as `score_arms`.
    """
    names = chosen_metrics(config)
    rows: dict[str, dict[str, Rows]] = {label: {} for label in arms}
    for label, generations in arms.items():
        found = {**wording_rows(generations, protocol.diversity), "tokens": _tokens(generations)}
        rows[label] |= {name: found[name] for name in names if name in found}
    if "coherence" in names:
        for label, found_rows in _coherence(arms, judges).items():
            rows[label]["coherence"] = found_rows
    if "perplexity_expert" in names:
        for label, generations in arms.items():
            rows[label]["perplexity_expert"] = _perplexity(generations, judges.required_scorer())
    return rows


def _tokens(generations: Sequence[Generation]) -> Rows:
    lengths = np.array([len(generation.token_ids) for generation in generations], dtype=np.float64).reshape(-1, 1)
    return mean_rows(lengths, _prompts(generations), "mean")


def _coherence(arms: Arms, judges: Judges) -> dict[str, Rows]:
    """Coherence arm by arm; an embedder that is loaded here is gone afterwards, and its memory with it."""
    device = judges.scorer.model.device if judges.scorer is not None else choose_device("auto")
    loaded = isinstance(judges.embedder, str)
    embedder = load_embedder(judges.embedder, str(device)) if isinstance(judges.embedder, str) else judges.embedder
    rows = coherence_rows(list(arms.values()), embedder.embed)
    note = embedder.note
    del embedder
    if loaded and device.type == "cuda":
        torch.cuda.empty_cache()
    return {
        label: mean_rows(values, _prompts(generations), note)
        for (label, generations), values in zip(arms.items(), rows, strict=True)
    }


def _perplexity(generations: Sequence[Generation], scorer: Scorer) -> Rows:
    note = f"of the continuation given its prompt, under {scorer.name}"
    values = nll_rows(scorer, generations)
    missing = int(np.isnan(values).any(axis=1).sum())
    return Rows(values, _prompts(generations), perplexity, missing, note)


def _prompts(generations: Sequence[Generation]) -> tuple[str, ...]:
    return tuple(generation.id for generation in generations)


def _first_samples(generations: Sequence[Generation]) -> list[Generation]:
    """MAUVE compares one text a prompt with one: a human text that stands there twice is no second text."""
    first: dict[str, Generation] = {}
    for generation in generations:
        first.setdefault(generation.id, generation)
    return list(first.values())
