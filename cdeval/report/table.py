"""The results as a table of cells, a row an arm, and the same in Markdown.

A cell is a number and what qualifies it: a score's interval, or a cost's overhead over the expert alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cdeval.config.metrics import METRICS
from cdeval.metrics.forms import Form, significant, whole
from cdeval.metrics.registry import Metric, Place, all_metrics, main_metrics, own_metrics, plugged_metrics
from cdeval.report.pareto import dominators, objectives_of
from cdeval.store.escaping import markdown

MISSING = "–"


@dataclass(frozen=True, slots=True)
class Row:
    """One arm of a study."""

    label: str
    role: str  # "human" for the references, which cost nothing to decode; any other role is an arm
    summary: Mapping[str, float]  # the run's summary.json; NaN and absent are shown alike
    folder: str = ""  # name of its run folder
    mark: str = ""  # follows the label where a note says why
    stored: Sequence[Metric] = ()  # of plug-ins that are not loaded, as its files describe them


class Cell(NamedTuple):
    """A number as text, and what qualifies it."""

    value: str
    detail: str = ""


class Column(NamedTuple):
    """One column: what it shows of a summary."""

    header: str
    cell: Callable[[Mapping[str, float]], Cell]
    cost: bool = False  # of decoding, which nobody did for the human references
    name: str = ""  # in a summary, of a number that is better higher or lower
    way: int = 0  # 1: higher is better, −1: lower


def cells_of(row: Row, columns: Sequence[Column] | None = None) -> list[Cell]:
    """Make the cells of a row, in the order of the columns; of a study's columns where none are given."""
    return [
        Cell(MISSING) if row.role == "human" and column.cost else column.cell(row.summary)
        for column in columns or result_columns()
    ]


def filled(rows: Sequence[Row], columns: Sequence[Column]) -> list[Column]:
    """The columns in which some row has a number."""
    shown = [cells_of(row, columns) for row in rows]
    return [column for index, column in enumerate(columns) if any(cells[index].value != MISSING for cells in shown)]


def markdown_table(
    rows: Sequence[Row],
    notes: Sequence[str] = (),
    columns: Sequence[Column] | None = None,
    *,
    only: Sequence[str] = (),
) -> str:
    """Write the rows as a GitHub table: what qualifies a number follows it in brackets.

    Args:
        rows: a line each.
        notes: below the table.
        columns: of the table; None: those of every table.
        only: names of metrics, as `metrics.only`; those that no table has by itself follow the columns of every table.
    """
    columns = columns or (*columns_for(rows), *filled(rows, [*asked_columns(only), *plugged_columns(rows), _TRIED]))
    marks, meaning = marks_of(rows)
    lines = [["arm", *(column.header.replace("\n", " ") for column in columns)], ["---", *("---:" for _ in columns)]]
    for row, mark in zip(rows, marks, strict=True):
        cells = [f"{cell.value} ({cell.detail})" if cell.detail else cell.value for cell in cells_of(row, columns)]
        lines.append([markdown(row.label) + mark, *cells])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    legend = _legend(columns).replace("Second lines", "In brackets")
    return "\n\n".join((table, legend, *(markdown(note) for note in (*meaning, *notes)))) + "\n"


def marks_of(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """Choose what follows each label: a dagger where another setting dominates it; and the line that explains it."""
    changed = [row.mark for row in rows]
    decoded = [row.summary if row.role != "human" and not row.mark else {} for row in rows]  # a mark: of former texts
    objectives = objectives_of(decoded, [metric for row in rows for metric in row.stored])
    better = dominators(decoded, objectives) if objectives else [None] * len(rows)
    if not any(place is not None for place in better):
        return changed, []
    names = ", ".join(one.name for one in objectives)
    meaning = f"† dominated: another row is as good in {names}, and better in one."
    return [("" if place is None else " †") + mark for place, mark in zip(better, changed, strict=True)], [meaning]


def _legend(columns: Sequence[Column]) -> str:
    costs = ", a cost's overhead over the expert alone" if any(column.cost for column in columns) else ""
    return f"Second lines: a score's interval{costs}."


def _shown(summary: Mapping[str, float], name: str, form: Form) -> str:
    value = summary.get(name, math.nan)
    return form(value) if math.isfinite(value) else ""


def _score(name: str, form: Form, ends: Form) -> Callable[[Mapping[str, float]], Cell]:
    def cell(summary: Mapping[str, float]) -> Cell:
        low, high = _shown(summary, f"{name}_low", ends), _shown(summary, f"{name}_high", ends)
        return Cell(_shown(summary, name, form) or MISSING, f"{low}–{high}" if low and high else "")

    return cell


def _pair(name: str, form: Form, below: str, below_form: Form) -> Callable[[Mapping[str, float]], Cell]:
    def cell(summary: Mapping[str, float]) -> Cell:
        return Cell(_shown(summary, name, form) or MISSING, _shown(summary, below, below_form))

    return cell


def _percent(ratio: float) -> str:
    """0.041 as +4.1 %, 0.41 as +41 %."""
    percent = 100 * ratio
    rounded = round(percent, 1 if abs(percent) < 9.95 else 0) + 0.0  # adding 0 makes a plain zero of -0.0
    return f"{rounded:+.1f} %" if abs(rounded) < 10 else f"{rounded:+.0f} %"


_COMPUTE = Column(
    "GFLOPs\n/token",
    _pair("flops_per_token", significant(3, 1e9), "flops_overhead", _percent),
    cost=True,
    name="flops_per_token",
    way=-1,
)
_MEMORY = Column(
    "memory\nGiB",
    _pair("memory_bytes", significant(3, 2**30), "memory_overhead", _percent),
    cost=True,
    name="memory_bytes",
    way=-1,
)
_MS = significant(3, 1e-3)
_LATENCY = Column(
    "ms\n/token",
    _pair("decode_seconds_per_token", _MS, "latency_overhead", _percent),
    cost=True,
    name="decode_seconds_per_token",
    way=-1,
)
_TRIED = Column("settings\ntried", _score("settings_tried", whole, whole), cost=True)  # nobody tunes human texts

# What a study of costs alone shows (`cdeval.study.weightless`): the timed numbers with their intervals.
COST_COLUMNS = (
    _COMPUTE,
    Column("GB moved\n/token", _pair("bytes_per_token", significant(3, 1e9), "bytes_overhead", _percent), cost=True),
    Column("prefill\nms", _score("prefill_seconds", _MS, _MS), cost=True),
    Column("ms\n/token", _score("decode_seconds_per_token", _MS, _MS), cost=True),
    Column("over the\nexpert", _score("latency_overhead", _percent, _percent), cost=True),
    _MEMORY,
)


def columns_for(rows: Sequence[Row]) -> tuple[Column, ...]:
    """Scores and costs; costs alone, in more detail, where there are no texts to have scores."""
    known = {name for row in rows for name, value in row.summary.items() if math.isfinite(value)}
    return COST_COLUMNS if "flops_per_token" in known and "texts" not in known else result_columns()


def result_columns() -> tuple[Column, ...]:
    """List the columns that `cdeval.run` shows of its texts, of cdeval's own metrics, and of costs."""
    below = next(metric for metric in all_metrics() if metric.below_texts)
    return (
        Column(f"texts,\n{below.label}", _pair("texts", whole, below.name, whole)),
        *(_of_metric(metric) for metric in own_metrics(Place.main)),
        _COMPUTE,
        _LATENCY,
        _MEMORY,
    )


def chosen_columns(rows: Sequence[Row], only: Sequence[str] = ()) -> list[Column]:
    """List the columns that a screen shows: the metrics that were asked for, then costs.

    Args: rows: of the study. only: names of metrics, as `metrics.only`; empty: those of every table.
    """
    if columns_for(rows) is COST_COLUMNS:
        return filled(rows, COST_COLUMNS)
    names = {METRICS[name].name for name in only}
    shown = (
        [metric for metric in all_metrics() if metric.name in names]
        if only
        else main_metrics(one for row in rows for one in row.stored)
    )
    return filled(rows, [*map(_of_metric, shown), _COMPUTE, _LATENCY, _MEMORY, _TRIED])


def plugged_columns(rows: Sequence[Row]) -> list[Column]:
    """Columns of plug-ins' metrics, with unit and direction."""
    return [_of_metric(metric) for metric in plugged_metrics(one for row in rows for one in row.stored)]


def asked_columns(only: Sequence[str], *, fine: bool = False) -> list[Column]:
    """Columns of metrics that a table has only where they were asked for. Args: only: as `metrics.only`."""
    names = {METRICS[name].name for name in only}
    apart = [metric for place in (Place.diagnostic, Place.extra, Place.file) for metric in own_metrics(place)]
    return [_of_metric(metric, fine=fine) for metric in apart if metric.name in names]


def score_groups(rows: Sequence[Row], only: Sequence[str] = ()) -> list[list[Column]]:
    """The tables of `cdeval.score`, each a group of columns: published figures have more digits, and no costs.

    Args: rows: a line each. only: names of metrics, as `metrics.only`.
    """
    amounts = (*own_metrics(Place.amount), *own_metrics(Place.main))
    others = [[_of_metric(one, fine=True) for one in own_metrics(place)] for place in (Place.diagnostic, Place.extra)]
    known = {column.name for group in others for column in group}
    filed = [column for column in asked_columns(only, fine=True) if column.name not in known]
    first = [Column("texts", _score("texts", whole, whole)), *(_of_metric(metric, fine=True) for metric in amounts)]
    groups = [[*first, *filed], *others, plugged_columns(rows)]
    return [shown for group in groups if (shown := filled(rows, group))]


def _of_metric(metric: Metric, *, fine: bool = False) -> Column:
    cell = _score(metric.name, *metric.forms(fine=fine))
    return Column(metric.heading, cell, name=metric.name, way=metric.better.way)
