"""Comparisons from what is kept of arms: no model and no text is read, and torch is not imported."""

from collections.abc import Mapping

from cdeval.config.schema import ProtocolConfig
from cdeval.metrics.codebook import MEASURES
from cdeval.metrics.compare import Settings
from cdeval.metrics.family import MetricRows, compare_metrics
from cdeval.metrics.scorefile import ArmScores
from cdeval.metrics.stats import Statistic, perplexity
from cdeval.metrics.wording import EXTRAS, WORDING, wording_statistic
from cdeval.records import Comparison

LIKELIHOOD = ("coherence_loglik", "perplexity_expert")
METRICS = (*WORDING[:4], *MEASURES, "coherence", *LIKELIHOOD, "tokens", *WORDING[4:])
ORDER = (*METRICS, *EXTRAS)  # in which metrics are reported

_PROTOCOL = ProtocolConfig()


def compare_kept(
    kept: Mapping[str, ArmScores], against: Mapping[str, str], settings: Settings, protocol: ProtocolConfig = _PROTOCOL
) -> list[Comparison]:
    """Every metric of every arm against its control, from what is kept of them: no model and no text is read.

    Two arms are compared by a metric where both were scored by the same means.

    Args:
        kept: by arm.
        against: as of `score_study`.
        settings: of the intervals.
        protocol: whose n-gram counts are compared; those of another protocol are not.
    """
    if not against:
        return []
    metrics: dict[str, MetricRows] = {}
    others = sorted({name for found in kept.values() for name in found.scores} - set(ORDER))  # of plug-ins
    for name in (*ORDER, *others):
        scores = {label: found.scores[name] for label, found in kept.items() if name in found.scores}
        ours = {None, protocol.diversity.name}
        rows = {
            label: score.rows
            for label, score in scores.items()
            if score.rows is not None and score.basis.get("protocol") in ours
        }
        if rows:
            metrics[name] = MetricRows(rows, statistic_of(name, protocol))
    codes = {label: found.codes for label, found in kept.items() if found.codes is not None}

    def alike(name: str, arm: str, control: str) -> bool:
        ours, theirs = (kept[label].scores.get(name) for label in (arm, control))
        return ours is not None and theirs is not None and ours.basis == theirs.basis

    names = {name for found in kept.values() for name in found.scores}
    return compare_metrics(metrics, codes, against, settings, names, alike)


def statistic_of(name: str, protocol: ProtocolConfig) -> Statistic:
    """How a metric makes a number of its rows."""
    return perplexity if name == "perplexity_expert" else wording_statistic(name, protocol.diversity)
