"""All comparisons of a study's arms with their controls: every metric, every arm, corrected as one family."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from cdeval.metrics.codebook import MEASURES, Codes, compare_mauve
from cdeval.metrics.compare import ArmRows, Settings, compare_arms, with_holm
from cdeval.metrics.stats import Statistic
from cdeval.records import Comparison

T = TypeVar("T")

# The largest difference that two arms can have, by metric; a metric that is not named has no bound. The symmetric
# interval knows none, and reached from -2.1 to +1.9 for diversities of twenty prompts.
_WIDEST = {
    **dict.fromkeys(("diversity", "rep_2", "rep_3", "rep_4", "entity_overlap", *MEASURES), 1.0),
    "coherence": 2.0,
}


class MetricRows(NamedTuple):
    """What one metric knows of every arm's texts, and how it makes a number of them."""

    rows: Mapping[str, ArmRows]  # by arm
    statistic: Statistic  # of sums of rows: see `compare_arms`


def compare_metrics(
    metrics: Mapping[str, MetricRows],
    codes: Mapping[str, Codes],
    against: Mapping[str, str],
    settings: Settings,
    measures: Collection[str] = MEASURES,
    alike: Callable[[str, str, str], bool] = lambda _metric, _arm, _control: True,
) -> list[Comparison]:
    """Every metric of every arm against its control.

    Args:
        metrics: per-text metrics by name.
        codes: clusters by arm, for MAUVE and its relatives; arms without MAUVE, or whose control has none, are left
            out.
        against: the arm that is subtracted, by the label of the arm that it is subtracted from.
        settings: confidence, draws, seed. Of metrics that are sums over texts more prompts are drawn where there are so
            many comparisons that the least p-value of so few draws, corrected for all of them, could show nothing.
        measures: which of `MEASURES` are asked for; what is not is no part of the family either.
        alike: whether a metric scored an arm and its control by the same means; only then they are compared by it.

    Returns: metric by metric, control by control; Holm's correction counts all of them that have a p-value, and no
        interval reaches beyond what the metric can differ by.

    Raises: ValueError: a statistic is not one of sums.
    """
    pairs = (len(metrics) + len(measures)) * len(against)
    enough = settings._replace(draws=max(settings.draws, math.ceil(2 * pairs / (1 - settings.confidence))))
    found = [
        comparison
        for name, metric in metrics.items()
        for control, family in _families(name, metric.rows, against, alike).items()
        for comparison in compare_arms(_of(metric.rows, family), metric.statistic, name, control, enough)
    ]
    found += [
        comparison
        for name in MEASURES
        if name in measures
        for control, family in _families(name, codes, against, alike).items()
        for comparison in compare_mauve(_of(codes, family), name, control, settings)
    ]
    return with_holm([_within_bounds(one) for one in found])


def _families(
    name: str, known: Collection[str], against: Mapping[str, str], alike: Callable[[str, str, str], bool]
) -> dict[str, list[str]]:
    """The arms that a metric compares with each control that has a value of it, the control last."""
    of = {
        control: [arm for arm, its in against.items() if its == control and alike(name, arm, control)]
        for control in dict.fromkeys(against.values())
        if control in known
    }
    return {control: [*arms, control] for control, arms in of.items()}


def _within_bounds(found: Comparison) -> Comparison:
    widest, ends = _WIDEST.get(found.metric), found.difference
    if widest is None or math.isnan(ends.low):
        return found
    return replace(found, difference=replace(ends, low=max(ends.low, -widest), high=min(ends.high, widest)))


def _of(by_arm: Mapping[str, T], arms: Sequence[str]) -> dict[str, T]:
    return {arm: by_arm[arm] for arm in arms if arm in by_arm}
