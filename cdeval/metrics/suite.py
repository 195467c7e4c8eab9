"""All metrics over all arms of a study, the cheap ones first.

What arms share is computed once: the embeddings of the prompts, the features of the human texts. What an earlier
command found out about the same texts by the same means is not computed again (`cdeval.metrics.scorefile`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import torch

from cdeval.config.schema import MetricsConfig, ProtocolConfig
from cdeval.errors import ConfigError, did_you_mean
from cdeval.metrics.coherence import coherence_rows, loglik_rows
from cdeval.metrics.judges.clusters import MauveOfArms, mauve_of_arms
from cdeval.metrics.judges.embedder import load_embedder
from cdeval.metrics.judges.likelihood import describe, nll_rows
from cdeval.metrics.judges.opening import Judges
from cdeval.metrics.judges.scorer import TextReader
from cdeval.metrics.pairing import LIKELIHOOD, METRICS, ORDER, compare_kept
from cdeval.metrics.recall import Before, Means, Recall
from cdeval.metrics.registry import plugged
from cdeval.metrics.rows import Rows, mean_rows
from cdeval.metrics.scorefile import ArmScores, texts_digest
from cdeval.metrics.stats import perplexity
from cdeval.metrics.wording import EXTRAS, WORDING, extra_estimates, wording_rows
from cdeval.models.loading import choose_device
from cdeval.records import Comparison, Estimate, Generation

Arms: TypeAlias = Mapping[str, Sequence[Generation]]
Scores: TypeAlias = dict[str, dict[str, Estimate]]  # arm -> metric -> number
RowsOfArms: TypeAlias = Mapping[str, Mapping[str, Rows]]  # arm -> metric -> rows


@dataclass(frozen=True, slots=True)
class Scored:
    """All that scoring found."""

    scores: Scores
    curves: dict[str, list[tuple[float, float]]]  # arm -> points of its MAUVE divergence curve; arms with a value only
    comparisons: list[Comparison]  # every metric of every arm against its control, one family for Holm
    kept: dict[str, ArmScores] = field(default_factory=dict)  # arm -> what a later command needs not compute again


_PROTOCOL = ProtocolConfig()
_WITHOUT_IDS = "no text has a token of the model"


def chosen_metrics(config: MetricsConfig) -> tuple[str, ...]:
    """What is computed, in the order in which it is reported.

    Raises: ConfigError: metrics.only names something else.
    """
    known = (*METRICS, *EXTRAS, *plugged())
    for name in config.only:
        if name not in known:
            raise ConfigError(f"metrics.only: there is no metric {name!r}. {did_you_mean(name, known)}")
    if config.only:
        wanted = set(config.only) | (set(EXTRAS) if config.extras else set())
        return tuple(name for name in known if name in wanted)
    return (*METRICS, *(EXTRAS if config.extras else ()), *plugged())


def score_study(  # noqa: PLR0913 - named arguments, most with a default
    arms: Arms,
    human: Sequence[Generation] | None,
    judges: Judges,
    config: MetricsConfig,
    seed: int = 0,
    protocol: ProtocolConfig = _PROTOCOL,
    *,
    against: Mapping[str, str] = MappingProxyType({}),
    before: Mapping[str, Before] = MappingProxyType({}),
) -> Scored:
    """Score every arm by every metric of `chosen_metrics`, in that order, and compare the arms.

    Args:
        arms: continuations by label; the human texts may be one of them. Generations of one id are samples of one
            prompt, and one unit of the intervals; arms may differ in their prompts. MAUVE reads first samples only.
        human: the human continuations, which MAUVE compares with; None where the prompts have none.
        judges: the models.
        config: which metrics, k-means seeds, confidence and draws. Its model names are the caller's to resolve.
        seed: of the resamples, of k-means and of what self-BLEU compares.
        protocol: whose definitions.
        against: which arm each arm is compared with, by their labels.
        before: what earlier commands found out, by arm; what still holds is not computed again.

    Raises:
        ValueError: a prompt has no tokens, or a metric's model is missing.
        ConfigError: an unknown metric is asked for.
        ModelError: the embedder cannot be read, or a text is longer than the scorer's context.
        HubError: the embedder is on the hub, which cannot be reached.
    """
    names = chosen_metrics(config)
    recall = Recall.of(arms, human, Means(names, judges, config, seed, protocol), before)
    rows = measure_arms(arms, judges, config, protocol, recall.lacking())
    fresh = _estimates(arms, rows, recall.lacking(), config, seed)
    mauve = MauveOfArms({})
    if not recall.knows_mauve:
        reader = TextReader(judges.featurizer or judges.required_scorer(), retokenise=judges.featurizer is not None)
        first = {label: _first_samples(arms[label]) for label in recall.clustered}
        mauve = mauve_of_arms(first, human, reader, config, seed, judges.cache)
        for label, estimates in mauve.estimates.items():
            fresh[label] |= {name: estimates[name] for name in recall.names(label) if name in estimates}
    content = {label: texts_digest(texts) for label, texts in arms.items()}
    kept = {label: recall.kept(label, content[label], fresh[label], rows[label], mauve) for label in arms}
    current = {label: found.current(content[label]) for label, found in kept.items()}
    return Scored(
        {label: _ordered(found.marked(content[label])) for label, found in kept.items()},
        {label: list(found.curve) for label, found in kept.items() if found.curve},
        compare_kept(current, against, recall.settings, protocol),
        kept,
    )


def _ordered(scores: Mapping[str, Estimate]) -> dict[str, Estimate]:
    order = (*ORDER, *(name for name in scores if name not in ORDER))  # those of plug-ins come last
    return {name: scores[name] for name in order if name in scores}


def _estimates(
    arms: Arms,
    rows: RowsOfArms,
    lacking: Mapping[str, Sequence[str]],
    config: MetricsConfig,
    seed: int,
) -> Scores:
    """What the rows of each arm come to, and its metrics without rows; of those that are lacking."""
    return {
        label: {
            **{name: found.estimate(config, seed) for name, found in rows[label].items()},
            **extra_estimates(arms[label], names, seed),
        }
        for label, names in lacking.items()
    }


def measure_arms(
    arms: Arms,
    judges: Judges,
    config: MetricsConfig,
    protocol: ProtocolConfig = _PROTOCOL,
    wanted: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, dict[str, Rows]]:
    """The rows of every metric that scores text by text: what intervals and paired differences are made of.

    Args:
        arms: as of `score_study`, and so are judges, config and protocol.
        judges: the models.
        config: names the metrics that are chosen.
        protocol: whose definitions.
        wanted: metrics by arm, where not all that are chosen are wanted of each.

    Raises: as `score_study`.
    """
    names = {label: chosen_metrics(config) for label in arms} if wanted is None else wanted
    rows: dict[str, dict[str, Rows]] = {label: {} for label in arms}
    for label, generations in arms.items():
        if set(names[label]) & {*WORDING, "tokens"}:
            found = {**wording_rows(generations, protocol.diversity, names[label]), "tokens": _tokens(generations)}
            rows[label] |= {name: found[name] for name in names[label] if name in found}
        rows[label] |= {name: one.rows(generations) for name, one in plugged().items() if name in names[label]}
    coherent = {label: generations for label, generations in arms.items() if "coherence" in names[label]}
    if coherent:
        for label, found_rows in _coherence(coherent, judges, config).items():
            rows[label]["coherence"] = found_rows
    for label, generations in arms.items():
        if set(names[label]) & set(LIKELIHOOD):
            likelihood = _likelihood(generations, judges)
            rows[label] |= {name: likelihood[name] for name in names[label] if name in likelihood}
    return rows


def _tokens(generations: Sequence[Generation]) -> Rows:
    lengths = np.array([len(generation.token_ids) for generation in generations], dtype=np.float64).reshape(-1, 1)
    return mean_rows(lengths, _prompts(generations), "mean")


def _coherence(arms: Arms, judges: Judges, config: MetricsConfig) -> dict[str, Rows]:
    """Coherence arm by arm; an embedder that is loaded here is gone afterwards, and its memory with it."""
    device = judges.scorer.model.device if judges.scorer is not None else choose_device("auto")
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
        label: mean_rows(values, _prompts(generations), note, "each text is blank, or its prompt is")
        for (label, generations), values in zip(arms.items(), rows, strict=True)
    }


def _likelihood(generations: Sequence[Generation], judges: Judges) -> dict[str, Rows]:
    reader = TextReader(judges.likelihood or judges.required_scorer(), retokenise=judges.likelihood is not None)
    values = nll_rows(reader.scorer, reader.read(generations), judges.cache)
    same = judges.scorer is not None and reader.scorer.fingerprint == judges.scorer.fingerprint
    wrote = judges.wrote if judges.wrote is None else judges.wrote and same
    note = describe(reader.scorer.name, retokenised=reader.retokenise, wrote_the_texts=wrote)
    missing = int(np.isnan(values).any(axis=1).sum())
    return {
        "perplexity_expert": Rows(values, _prompts(generations), perplexity, missing, note, _WITHOUT_IDS),
        "coherence_loglik": mean_rows(
            loglik_rows(values), _prompts(generations), f"mean over texts, {note}", _WITHOUT_IDS
        ),
    }


def _prompts(generations: Sequence[Generation]) -> tuple[str, ...]:
    return tuple(generation.id for generation in generations)


def _first_samples(generations: Sequence[Generation]) -> list[Generation]:
    """MAUVE compares one text a prompt with one: a human text that stands there twice is no second text."""
    first: dict[str, Generation] = {}
    for generation in generations:
        first.setdefault(generation.id, generation)
    return list(first.values())
