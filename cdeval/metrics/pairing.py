"""Comparisons from what is kept of arms: no model and no text is read, and torch is not imported."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from cdeval.config.schema import ProtocolConfig
from cdeval.metrics.compare import Settings, with_holm
from cdeval.metrics.registry import Metric, all_metrics
from cdeval.metrics.scorefile import ArmScores
from cdeval.records import Comparison
from cdeval.store.progress import Steps, say_nothing

_PROTOCOL = ProtocolConfig()


def compare_kept(
    kept: Mapping[str, ArmScores],
    against: Mapping[str, str],
    settings: Settings,
    protocol: ProtocolConfig = _PROTOCOL,
    say: Callable[[str], None] = say_nothing,
) -> list[Comparison]:
    """Every metric of every arm against its control, corrected as one family.

    Two arms are compared by a metric where both were scored by the same means.

    Args:
        kept: by arm.
        against: the arm that is subtracted, by the label of the arm that it is subtracted from.
        settings: confidence, draws, seed. Of metrics that are sums over texts more prompts are drawn where there are so
            many comparisons that the least p-value of so few draws, corrected for all of them, could show nothing.
        protocol: whose n-gram counts are compared; those of another protocol are not.
        say: takes lines of progress.

    Returns: metric by metric, those that are sums over texts first, and control by control; Holm's correction counts
        all that have a p-value, and no interval reaches beyond what the metric can differ by.
    """
    if not against:
        return []
    names = {name for found in kept.values() for name in found.scores}
    every = [metric for metric in all_metrics() if metric.name in names]
    every += [Metric(name=name) for name in sorted(names - {metric.name for metric in every})]  # of absent plug-ins
    evidence: dict[Metric, dict[str, Any]] = {}
    for metric in sorted(every, key=lambda metric: bool(metric.together)):
        found = {label: metric.evidence(scores, protocol) for label, scores in kept.items()}
        evidence[metric] = {label: known for label, known in found.items() if known is not None}
    # Those that are sums count twice here: fewer would give studies of former releases other draws, and other numbers.
    pairs = (sum(bool(found) and not one.together for one, found in evidence.items()) + len(names)) * len(against)
    enough = settings._replace(draws=max(settings.draws, math.ceil(2 * pairs / (1 - settings.confidence))))
    compared = []
    with Steps(say, "compared arms by metric", len(evidence), timed=False) as steps:
        for metric, arms in evidence.items():
            drawn = settings if metric.together else enough
            for control, family in _families(metric.name, arms, kept, against).items():
                known = {label: arms[label] for label in family if label in arms}
                compared += [_within_bounds(one, metric) for one in metric.compare(known, control, drawn, protocol)]
            steps.advance(1, metric.label)
    return with_holm(compared)


def _families(
    name: str, known: Collection[str], kept: Mapping[str, ArmScores], against: Mapping[str, str]
) -> dict[str, list[str]]:
    """The arms that a metric compares with each control that it has something of, the control last."""

    def alike(arm: str, control: str) -> bool:
        ours, theirs = (kept[label].scores.get(name) for label in (arm, control))
        return ours is not None and theirs is not None and ours.basis == theirs.basis

    of = {
        control: [arm for arm, its in against.items() if its == control and arm in kept and alike(arm, control)]
        for control in dict.fromkeys(against.values())
        if control in known
    }
    return {control: [*arms, control] for control, arms in of.items()}


def _within_bounds(found: Comparison, metric: Metric) -> Comparison:
    low, high = metric.bounds
    widest, ends = high - low, found.difference
    if math.isinf(widest) or math.isnan(ends.low):
        return found
    return replace(found, difference=replace(ends, low=max(ends.low, -widest), high=min(ends.high, widest)))
