"""What was chosen, and the best of n settings, as tables for a terminal."""

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from cdeval.report.table import MISSING
from cdeval.store.escaping import printable
from cdeval.tune.arms import Tuned
from cdeval.tune.criterion import Criterion
from cdeval.tune.curve import BestOf

CAUTION = (
    "The values are of the texts by which was chosen, so the best of many is too good by chance: results are those of "
    "the test split."
)


def tuning_tables(tuned: Sequence[Tuned], criterion: Criterion) -> list[Table]:
    """Make both tables: a row an arm."""
    chosen = _table(f"best by {criterion}", ["arm", "tried", "chosen", criterion.text, *criterion.metrics], CAUTION)
    for row in chosen_rows(tuned, criterion):
        chosen.add_row(*(Text(printable(cell)) for cell in row))
    most = max(len(one.curve) for one in tuned)
    shown = [n for n in range(1, most + 1) if most <= _SHOWN or n in (1, most) or not n & (n - 1)]
    curve = _table(
        "the best of n settings", ["arm", *map(str, shown)], "Mean over the orders of the settings, and its interval."
    )
    for one in tuned:
        points = {point.n: point for point in one.curve}
        curve.add_row(Text(printable(one.arm.line)), *(point_cell(points[n]) for n in shown))
    return [chosen, curve]


_SHOWN = 8  # columns of a curve; of a longer one the powers of 2 and the last


def chosen_rows(tuned: Sequence[Tuned], criterion: Criterion) -> list[list[str]]:
    """What each arm's best setting is, and its scores; a dash where none has a value."""
    rows = []
    for one in tuned:
        best = one.chosen
        if best is None:
            rows.append([one.arm.line, str(len(one.settings)), *[MISSING] * (2 + len(criterion.metrics))])
            continue
        scores = [number(best.scores[name].value) for name in criterion.metrics]
        words = " ".join(best.overrides) or best.label
        rows.append([one.arm.line, str(len(one.settings)), words, number(best.value), *scores])
    return rows


def point_cell(point: BestOf) -> str:
    """A point of a curve as text, with its interval and with how often there is a value."""
    if math.isnan(point.value):
        return MISSING
    ends = f"\n{number(point.low)}–{number(point.high)}" if math.isfinite(point.low) else ""
    often = "" if point.valued >= 1 else f"\nin {point.valued:.0%}"
    return f"{number(point.value)}{ends}{often}"


def number(value: float) -> str:
    """Three decimals, without a sign before a plain zero; a dash where there is no value."""
    return f"{round(value, 3) + 0.0:.3f}" if math.isfinite(value) else MISSING


def _table(title: str, headers: Sequence[str], legend: str) -> Table:
    table = Table(
        title=Text(printable(title), style="bold"),
        caption=Text(legend),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1),
    )
    for place, header in enumerate(headers):
        table.add_column(Text(printable(header)), justify="left" if place == 0 else "right", overflow="fold")
    return table
