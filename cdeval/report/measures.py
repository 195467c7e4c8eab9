"""The numbers that pictures and pages show: their names, units and directions."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cdeval.metrics.forms import Form, significant
from cdeval.metrics.registry import Better, Metric, all_metrics, main_metrics
from cdeval.report.studyfiles import TRIED, Arm, Study
from cdeval.report.table import MISSING


class Measure(NamedTuple):
    """One number of a summary, as people read it."""

    name: str  # in summary.json
    title: str
    unit: str  # empty: a pure number
    better: Better
    scale: float = 1.0  # of the stored unit
    digits: int = 3  # decimals of a number below 10; larger ones have as many significant digits
    form: Form | None = None  # of the shown number, where decimals are not what it is written with
    cost: bool = False
    more: str = ""  # of an arm that has more of it
    less: str = ""
    beside: str = ""  # another measure, against which it is drawn

    @property
    def heading(self) -> str:
        """The heading, with its unit and the direction that is better."""
        unit = f" [{self.unit}]" if self.unit else ""
        return f"{self.title}{unit} {self.better.value}"

    def value_of(self, arm: Arm) -> float:
        """Read an arm's value in the shown unit; NaN: it has none, as the human references have no decoding costs."""
        return math.nan if self.cost and arm.is_human else arm.value(self.name).value / self.scale

    def is_known(self, arm: Arm) -> bool:
        """Whether an arm has a value."""
        return math.isfinite(self.value_of(arm))

    def shown(self, value: float) -> str:
        """A number in the shown unit, as text."""
        if not math.isfinite(value):
            return MISSING
        if self.form is not None:
            return self.form(value)
        whole = len(str(int(abs(value))))
        return f"{value:,.{max(0, self.digits - whole + 1)}f}" if whole > 1 else f"{value:.{self.digits}f}"


COSTS = (
    Measure("flops_per_token", "compute", "GFLOPs/token", Better.lower, 1e9, form=significant(3), cost=True),
    Measure("decode_seconds_per_token", "latency", "ms/token", Better.lower, 1e-3, form=significant(3), cost=True),
    Measure("memory_bytes", "memory", "GiB", Better.lower, 2**30, form=significant(3), cost=True),
)
TRIED_SETTINGS = Measure(TRIED, "settings tried", "", Better.none, digits=0, cost=True)
_OTHER_COSTS = (
    "bytes_per_token",
    "prefill_seconds",
    *(f"{cost}_overhead" for cost in ("flops", "bytes", "latency", "memory")),
)


def qualities(study: Study) -> tuple[Measure, ...]:
    """List what is shown of texts, plug-ins' metrics last."""
    return tuple(map(_of_metric, main_metrics(study.stored)))


def further(study: Study) -> tuple[Measure, ...]:
    """List the metrics of texts that a reader of the page may add to its table."""
    shown = {one.name for one in main_metrics(study.stored)}
    return tuple(_of_metric(one) for one in all_metrics() if one.name not in shown)


def _of_metric(one: Metric) -> Measure:
    found = Measure(one.name, one.label, one.unit, one.better, digits=one.digits)
    return found._replace(more=one.more, less=one.less, beside=one.beside)


def totals(study: Study) -> tuple[Measure, ...]:
    """List qualities and costs."""
    return (*qualities(study), *COSTS)


def ways() -> Mapping[str, int]:
    """Map the names of metrics and costs that have an order to 1, where higher is better, or −1, where lower is."""
    costs = {name: Better.lower.way for name in (*(cost.name for cost in COSTS), *_OTHER_COSTS)}
    return {one.name: one.better.way for one in all_metrics() if one.better.way} | costs


def present(measures: Iterable[Measure], arms: Iterable[Arm]) -> list[Measure]:
    """Those that some arm has a value of."""
    rows = list(arms)
    return [measure for measure in measures if any(measure.is_known(arm) for arm in rows)]
