"""All metrics over all arms of a study, the cheap ones first.

What arms share is computed once: the embeddings of the prompts, the features of the human texts. What an earlier
command found out about the same texts by the same means is not computed again (`cdeval.metrics.scorefile`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from cdeval.config.metrics import Need
from cdeval.config.schema import MetricsConfig, ProtocolConfig
from cdeval.metrics.means import Arms, Means, Measured, measured
from cdeval.metrics.pairing import compare_kept
from cdeval.metrics.recall import Before, Recall
from cdeval.metrics.registry import Metric, MetricError, all_metrics, chosen_metrics, raised
from cdeval.metrics.scorefile import ArmScores, texts_digest
from cdeval.records import Comparison, Estimate, Generation, frame
from cdeval.store.progress import Steps

if TYPE_CHECKING:  # torch takes seconds, and a report, which reads what metrics are called, needs none of it
    import pandas as pd

    from cdeval.metrics.judges.opening import Judges

Scores: TypeAlias = dict[str, dict[str, Estimate]]  # arm -> metric -> number
MeasuredArms: TypeAlias = dict[str, dict[Metric, Measured]]  # by arm


@dataclass(frozen=True, slots=True)
class Scored:
    """All that scoring found."""

    scores: Scores
    curves: dict[str, list[tuple[float, float]]]  # arm -> points of its MAUVE divergence curve; arms with a value only
    comparisons: list[Comparison]  # every metric of every arm against its control, one family for Holm
    kept: dict[str, ArmScores] = field(default_factory=dict)  # arm -> what a later command needs not compute again
    failures: list[MetricError] = field(default_factory=list)  # of metrics of plug-ins; everything else is scored

    def to_pandas(self) -> "pd.DataFrame":
        """Make a table of the scores, a row an arm and metric, with the columns of `Estimate`."""
        return frame(
            {"arm": arm, "metric": metric, **asdict(estimate)}
            for arm, estimates in self.scores.items()
            for metric, estimate in estimates.items()
        )

    def comparisons_to_pandas(self) -> "pd.DataFrame":
        """Make a table of the paired differences, a row each, with p and Holm's p."""
        return frame(
            {
                **{name: getattr(one, name) for name in ("metric", "arm", "against")},
                **asdict(one.difference),
                **{name: getattr(one, name) for name in ("p", "p_holm", "detectable")},
            }
            for one in self.comparisons
        )


_PROTOCOL = ProtocolConfig()


def score_study(  # noqa: PLR0913 - named arguments, most with a default
    arms: Arms,
    human: Sequence[Generation] | None,
    judges: "Judges",
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
    means = Means(judges, config, seed, protocol, human)
    recall = Recall.for_arms(arms, chosen_metrics(config), means, before)
    fresh, failures = measure_arms(arms, recall.lacking(), means)
    content = {label: texts_digest(texts) for label, texts in arms.items()}
    kept = {label: recall.kept(label, content[label], fresh[label]) for label in arms}
    current = {label: found.current(content[label]) for label, found in kept.items()}
    return Scored(
        {label: _ordered(found.marked(content[label])) for label, found in kept.items()},
        {label: list(found.curve) for label, found in kept.items() if found.curve},
        compare_kept(current, against, means.settings, protocol, judges.say),
        kept,
        failures,
    )


def _ordered(scores: Mapping[str, Estimate]) -> dict[str, Estimate]:
    order = dict.fromkeys([*(metric.name for metric in all_metrics()), *scores])  # of absent plug-ins come last
    return {name: scores[name] for name in order if name in scores}


def measure_arms(
    arms: Arms, lacking: Mapping[Metric, Sequence[str]], means: Means
) -> tuple[MeasuredArms, list[MetricError]]:
    """Score arms by metrics, those first that need the least.

    Args:
        arms: as of `score_study`.
        lacking: by metric, the labels of the arms that it scores.
        means: models and settings.

    Returns: what was found, and the errors of plug-ins, which cost their own metric alone.

    Raises: as `score_study`.
    """
    found: MeasuredArms = {label: {} for label in arms}
    failures: list[MetricError] = []
    costs = list(Need)
    queue = sorted(lacking, key=lambda metric: max((costs.index(need) for need in metric.needs), default=-1))
    with Steps(means.judges.say, "scored metric", len(queue), timed=False) as steps:
        for place, metric in enumerate(queue):
            if not any(Need.embedder in later.needs for later in queue[place:]):
                means.close_embedder()
            labels = lacking[metric]
            together = [one for one in queue if one.together == metric.together] if metric.together else [metric]
            read = {label: texts for label, texts in arms.items() if any(label in lacking[one] for one in together)}
            # What breaks in a plug-in costs one arm alone, unless arms are scored together.
            parts = [read] if metric.together or metric.origin is None else [{label: read[label]} for label in read]
            for part in filter(None, parts):
                scored, error = _scored(metric, part, means)
                failures += [] if error is None else [error]
                for label in part:
                    if label in labels:
                        found[label][metric] = scored[label]
            steps.advance(1, metric.label)
    return found, failures


def _scored(metric: Metric, arms: Arms, means: Means) -> tuple[dict[str, Measured], MetricError | None]:
    """Score arms by one metric; a plug-in that breaks has no value, and an error that says why."""
    try:
        scored = metric.score(arms, means)
        return {label: measured(scored[label], means.settings) for label in arms}, None
    except Exception as error:
        if metric.origin is None:
            raise
        said = str(error) if isinstance(error, MetricError) else f"it {raised(error)}"
        failure = MetricError(
            f"the metric {metric.name} ({metric.origin.where}) has no score of {', '.join(map(repr, arms))}: {said}. "
            "Everything else is scored and written; mend it, and the same command scores it again."
        )
        nothing = {
            label: Measured(Estimate(math.nan, math.nan, math.nan, 0, len(texts), f"no score: {said}"), failed=True)
            for label, texts in arms.items()
        }
        return nothing, failure
