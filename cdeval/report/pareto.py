"""The Pareto front over quality and cost: the settings that no other one beats.

One setting dominates another where it is at least as good in every objective and better in one. A setting without a
value in some objective takes no part: it neither dominates nor is dominated. Numbers are compared as they are shown:
two that a reader sees as equal are a tie. Of two settings whose intervals overlap one may still dominate the other, so
a dominated setting is not a proven worse one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cdeval.metrics.forms import Form, significant
from cdeval.metrics.registry import Metric, main_metrics


class Objective(NamedTuple):
    """One number of a summary, which is better higher or lower."""

    name: str
    way: int  # 1: higher is better, −1: lower
    form: Form = str  # in which it is shown; numbers that it writes alike are equal


COST = Objective(
    "flops_per_token", -1, significant(3, 1e9)
)  # counted, so that a noisy clock makes and unmakes no front


def objectives_of(summaries: Sequence[Mapping[str, float]], stored: Iterable[Metric] = ()) -> list[Objective]:
    """List what the settings can be compared by: the cost, and those measures of quality that some of them have.

    None where there is no quality or no cost to trade. Args: stored: metrics of plug-ins, which may not be loaded.
    """
    ranked = [metric for metric in main_metrics(stored) if metric.better.way]
    quality = [Objective(metric.name, metric.better.way, metric.forms()[0]) for metric in ranked]
    known = [one for one in (*quality, COST) if any(math.isfinite(_value(summary, one)) for summary in summaries)]
    return known if len(known) > 1 and COST in known else []


def dominators(summaries: Sequence[Mapping[str, float]], objectives: Sequence[Objective]) -> list[int | None]:
    """Find for each setting the place of one that dominates it, the first on the front; None where there is none."""
    points = [[_shown(summary, one) * one.way for one in objectives] for summary in summaries]
    beaten = [[place for place, other in enumerate(points) if _dominates(other, point)] for point in points]
    return [next((place for place in places if not beaten[place]), None) for places in beaten]


def _dominates(point: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the first is at least as good everywhere and better somewhere; never, of a NaN."""
    pairs = list(zip(point, other, strict=True))
    return all(mine >= theirs for mine, theirs in pairs) and any(mine > theirs for mine, theirs in pairs)


def _value(summary: Mapping[str, float], objective: Objective) -> float:
    return summary.get(objective.name, math.nan)


def _shown(summary: Mapping[str, float], objective: Objective) -> float:
    """The number that a reader sees; NaN where there is none."""
    value = _value(summary, objective)
    return float(objective.form(value)) if math.isfinite(value) else math.nan
