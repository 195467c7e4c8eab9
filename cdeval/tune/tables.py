"""What was chosen, and the best of n settings, as tables for a screen."""

import math
import textwrap
from collections.abc import Sequence

from cdeval.report.narrow import Grid, fitted
from cdeval.report.table import MISSING, Cell
from cdeval.store.escaping import printable
from cdeval.tune.arms import Tuned
from cdeval.tune.criterion import Criterion
from cdeval.tune.curve import BestOf

CAUTION = (
    "The values are of the texts by which was chosen, so the best of many is too good by chance: results are those of "
    "the test split."
)


def tuning_lines(tuned: Sequence[Tuned], criterion: Criterion, width: int) -> list[str]:
    """Lay both tables out, a row an arm, for a screen of so many cells."""
    rows = [[printable(cell) for cell in row] for row in chosen_rows(tuned, criterion)]
    headings = [_heading(criterion.text), *map(_heading, criterion.metrics), "tried"]
    # What was chosen is a text, and stands with the arm, where it may be broken between its words.
    labels = [f"{arm} {words}" if words != MISSING else arm for arm, _, words, *_ in rows]
    chosen = Grid(headings, labels, [[*map(Cell, scores), Cell(tried)] for _, tried, _, *scores in rows])
    most = max(len(one.curve) for one in tuned)
    shown = [n for n in range(1, most + 1) if most <= _SHOWN or n in (1, most) or not n & (n - 1)]
    curves = [{point.n: point for point in one.curve} for one in tuned]
    best = Grid(
        [str(n) for n in shown],
        [printable(one.arm.name) for one in tuned],
        [[point_cell(curve[n]) for n in shown] for curve in curves],
    )
    return [
        *[printable(f"best by {criterion}"), "", *fitted(chosen, width, None).lines],
        *["", *textwrap.wrap(CAUTION, width)],
        *["", "the best of n settings, n =", "", *fitted(best, width, None).lines],
        *["", *textwrap.wrap("Mean over the orders of the settings, and its interval.", width)],
    ]


_WIDE = 12  # cells of a heading that stands on one line
_SHOWN = 8  # columns of a curve; of a longer one the powers of 2 and the last


def chosen_rows(tuned: Sequence[Tuned], criterion: Criterion) -> list[list[str]]:
    """What each arm's best setting is, and its scores; a dash where none has a value."""
    rows = []
    for one in tuned:
        best = one.chosen
        if best is None:
            rows.append([one.arm.name, str(len(one.settings)), *[MISSING] * (2 + len(criterion.metrics))])
            continue
        scores = [number(best.scores[name].value) for name in criterion.metrics]
        words = " ".join(best.overrides) or best.label
        rows.append([one.arm.name, str(len(one.settings)), words, number(best.value), *scores])
    return rows


def point_cell(point: BestOf) -> Cell:
    """A point of a curve, with its interval and with how often there is a value."""
    if math.isnan(point.value):
        return Cell(MISSING)
    ends = f"{number(point.low)}–{number(point.high)}" if math.isfinite(point.low) else ""
    often = "" if point.valued >= 1 else f"in {point.valued:.0%}"
    return Cell(number(point.value), " ".join(filter(None, (ends, often))))


def number(value: float) -> str:
    """Three decimals, without a sign before a plain zero; a dash where there is no value."""
    return f"{round(value, 3) + 0.0:.3f}" if math.isfinite(value) else MISSING


def _heading(metric: str) -> str:
    """A name or formula on lines of its own words, so that a column is no wider than its longest part."""
    return metric.replace("*", "*\n").replace("_", "_\n") if len(metric) > _WIDE else metric
