"""The numbers that pictures and pages show: their names and units."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from cdeval.metrics.directions import direction, sign
from cdeval.metrics.registry import plugged
from cdeval.report.studyfiles import Arm
from cdeval.report.table import MISSING


class Measure(NamedTuple):
    """One number of a summary, as people read it."""

    name: str  # in summary.json
    title: str
    unit: str  # empty: a pure number
    scale: float = 1.0  # of the stored unit
    digits: int = 3  # decimals of a number below 10; larger ones have as many significant digits
    cost: bool = False

    @property
    def better(self) -> int:
        """Which way, as `cdeval.metrics.directions` says."""
        return direction(self.name) or 0

    @property
    def heading(self) -> str:
        """With its unit and the direction that is better."""
        unit = f" [{self.unit}]" if self.unit else ""
        return f"{self.title}{unit} {sign(self.name)}"

    def of(self, arm: Arm) -> float:
        """In the shown unit; NaN: no value, as decoding costs of the human references."""
        return math.nan if self.cost and arm.is_human else arm.value(self.name).value / self.scale

    def shown(self, value: float) -> str:
        """A number in the shown unit, as text."""
        if not math.isfinite(value):
            return MISSING
        whole = len(str(int(abs(value))))
        return f"{value:,.{max(0, self.digits - whole + 1)}f}" if whole > 1 else f"{value:.{self.digits}f}"


_OURS = (
    Measure("diversity", "diversity", ""),
    Measure("mauve", "MAUVE", ""),
    Measure("coherence", "coherence", ""),
    Measure("perplexity_expert", "perplexity", "", digits=2),
)
COSTS = (
    Measure("flops_per_token", "compute", "GFLOPs/token", 1e9, digits=2, cost=True),
    Measure("decode_seconds_per_token", "latency", "ms/token", 1e-3, digits=1, cost=True),
    Measure("memory_bytes", "memory", "GiB", 2**30, digits=2, cost=True),
)


def qualities() -> tuple[Measure, ...]:
    """List what is shown of texts, plug-ins' metrics last."""
    own = (Measure(one.name, one.label, one.unit, digits=one.digits) for one in plugged().values())
    return (*_OURS, *own)


def totals() -> tuple[Measure, ...]:
    """List qualities and costs."""
    return (*qualities(), *COSTS)


def present(measures: Iterable[Measure], arms: Iterable[Arm]) -> list[Measure]:
    """Those that some arm has a value of."""
    rows = list(arms)
    return [measure for measure in measures if any(math.isfinite(measure.of(arm)) for arm in rows)]
