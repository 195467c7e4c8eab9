"""The results as a table, on a terminal and in Markdown: one row an arm, the same cells in both.

A cell is a number and, below it, what qualifies it: an interval below a score, the overhead over the expert alone below
a cost. Two lines a row let everything stand in 80 columns, where labels break between their words and lose nothing.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from cdeval.metrics.directions import sign
from cdeval.metrics.registry import plugged
from cdeval.report.pareto import dominators, objectives_of
from cdeval.store.escaping import markdown, printable

MISSING = "–"


@dataclass(frozen=True, slots=True)
class Row:
    """One arm of a study."""

    label: str
    role: str  # "human" for the references, which cost nothing to decode; any other role is an arm
    summary: Mapping[str, float]  # the run's summary.json; NaN and absent are shown alike
    folder: str = ""  # name of its run folder
    mark: str = ""  # follows the label where a note says why


class Cell(NamedTuple):
    """A number as text, and what qualifies it."""

    value: str
    detail: str = ""


class Column(NamedTuple):
    """One column: what it shows of a summary."""

    header: str
    cell: Callable[[Mapping[str, float]], Cell]
    cost: bool = False  # of decoding, which nobody did for the human references


def cells_of(row: Row, columns: Sequence[Column] | None = None) -> list[Cell]:
    """What is shown of a row, in the order of the columns; of COLUMNS where none are given."""
    return [
        Cell(MISSING) if row.role == "human" and column.cost else column.cell(row.summary)
        for column in columns or COLUMNS
    ]


def filled(rows: Sequence[Row], columns: Sequence[Column]) -> list[Column]:
    """The columns in which some row has a number."""
    shown = [cells_of(row, columns) for row in rows]
    return [column for index, column in enumerate(columns) if any(cells[index].value != MISSING for cells in shown)]


def results_table(
    rows: Sequence[Row], title: str, notes: Sequence[str] = (), columns: Sequence[Column] | None = None
) -> Table:
    """The table for a terminal, from 80 columns on, with its notes below. No text is taken for markup."""
    columns = columns or columns_for(rows)
    marks, meaning = _marks(rows)
    table = Table(
        title=Text(printable(title), style="bold"),
        caption=Text("\n".join(printable(line) for line in (_legend(columns), *meaning, *notes))),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=0,
    )
    table.add_column("arm", overflow="fold")
    for column in columns:
        table.add_column(Text(column.header), justify="right", no_wrap=True)
    for row, mark in zip(rows, marks, strict=True):
        cells = [Text.assemble(cell.value, "\n", (cell.detail, "dim")) for cell in cells_of(row, columns)]
        table.add_row(Text(printable(row.label) + mark, style="italic" if row.role == "human" else ""), *cells)
    return table


def markdown_table(rows: Sequence[Row], notes: Sequence[str] = (), columns: Sequence[Column] | None = None) -> str:
    """The same cells as a GitHub table: what qualifies a number follows it in brackets."""
    columns = columns or (*columns_for(rows), *filled(rows, plugged_columns()))
    marks, meaning = _marks(rows)
    lines = [["arm", *(column.header.replace("\n", " ") for column in columns)], ["---", *("---:" for _ in columns)]]
    for row, mark in zip(rows, marks, strict=True):
        cells = [f"{cell.value} ({cell.detail})" if cell.detail else cell.value for cell in cells_of(row, columns)]
        lines.append([markdown(row.label) + mark, *cells])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    legend = _legend(columns).replace("Second lines", "In brackets")
    return "\n\n".join((table, legend, *(markdown(note) for note in (*meaning, *notes)))) + "\n"


def _marks(rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """What follows each label: a dagger where another setting dominates it; and the line that says so, if any does."""
    changed = [row.mark for row in rows]
    decoded = [row.summary if row.role != "human" and not row.mark else {} for row in rows]  # a mark: of former texts
    objectives = objectives_of(decoded)
    better = dominators(decoded, objectives) if objectives else [None] * len(rows)
    if not any(place is not None for place in better):
        return changed, []
    names = ", ".join(one.name for one in objectives)
    meaning = f"† dominated: another row is as good in {names}, and better in one."
    return [("" if place is None else " †") + mark for place, mark in zip(better, changed, strict=True)], [meaning]


def _legend(columns: Sequence[Column]) -> str:
    costs = ", a cost's overhead over the expert alone" if any(column.cost for column in columns) else ""
    return f"Second lines: a score's interval{costs}."


# A summary's number by name, as text.
_Format = Callable[[float], str]


def _shown(summary: Mapping[str, float], name: str, form: _Format) -> str:
    value = summary.get(name, math.nan)
    return form(value) if math.isfinite(value) else ""


def _score(name: str, form: _Format, ends: _Format) -> Callable[[Mapping[str, float]], Cell]:
    def cell(summary: Mapping[str, float]) -> Cell:
        low, high = _shown(summary, f"{name}_low", ends), _shown(summary, f"{name}_high", ends)
        return Cell(_shown(summary, name, form) or MISSING, f"{low}–{high}" if low and high else "")

    return cell


def _pair(name: str, form: _Format, below: str, below_form: _Format) -> Callable[[Mapping[str, float]], Cell]:
    def cell(summary: Mapping[str, float]) -> Cell:
        return Cell(_shown(summary, name, form) or MISSING, _shown(summary, below, below_form))

    return cell


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _decimals(digits: int) -> _Format:
    return lambda value: f"{value:.{digits}f}"


def _fraction_of(digits: int) -> _Format:
    """Decimals as printed in papers: .862, without a zero before the point."""
    return lambda value: re.sub(r"^(-?)0\.", r"\1.", f"{value:.{digits}f}")


_fraction = _fraction_of(3)


def _significant(digits: int, unit: float = 1.0) -> _Format:
    """That many significant digits, in full unless the number is huge or tiny."""

    def form(value: float) -> str:
        scaled = value / unit
        if scaled and not 1e-3 <= abs(scaled) < 1e6:
            return f"{scaled:.{digits - 1}e}"
        exponent = math.floor(math.log10(abs(scaled))) if scaled else 0
        return f"{scaled:.{max(0, digits - 1 - exponent)}f}"

    return form


def _percent(ratio: float) -> str:
    """0.041 as +4.1 %, 0.41 as +41 %."""
    percent = 100 * ratio
    rounded = round(percent, 1 if abs(percent) < 9.95 else 0) + 0.0  # adding 0 makes a plain zero of -0.0
    return f"{rounded:+.1f} %" if abs(rounded) < 10 else f"{rounded:+.0f} %"


COLUMNS = (
    Column("texts,\ntokens", _pair("texts", _whole, "tokens", _whole)),
    Column(f"diversity\n{sign('diversity')}", _score("diversity", _fraction, _fraction)),
    Column(f"MAUVE\n{sign('mauve')}", _score("mauve", _fraction, _fraction)),
    Column(f"coherence\n{sign('coherence')}", _score("coherence", _fraction, _fraction)),
    Column(f"perplexity\n{sign('perplexity_expert')}", _score("perplexity_expert", _significant(4), _significant(3))),
    Column("GFLOPs\n/token", _pair("flops_per_token", _significant(3, 1e9), "flops_overhead", _percent), cost=True),
    Column(
        "ms\n/token", _pair("decode_seconds_per_token", _significant(3, 1e-3), "latency_overhead", _percent), cost=True
    ),
    Column("memory\nGiB", _pair("memory_bytes", _significant(3, 2**30), "memory_overhead", _percent), cost=True),
)

# What a study of costs alone shows (`cdeval.study.weightless`): the timed numbers with their intervals.
COST_COLUMNS = (
    COLUMNS[5],
    Column("GB moved\n/token", _pair("bytes_per_token", _significant(3, 1e9), "bytes_overhead", _percent), cost=True),
    Column("prefill\nms", _score("prefill_seconds", _significant(3, 1e-3), _significant(3, 1e-3)), cost=True),
    Column("ms\n/token", _score("decode_seconds_per_token", _significant(3, 1e-3), _significant(3, 1e-3)), cost=True),
    Column("over the\nexpert", _score("latency_overhead", _percent, _percent), cost=True),
    COLUMNS[7],
)


def columns_for(rows: Sequence[Row]) -> tuple[Column, ...]:
    """Scores and costs; costs alone, in more detail, where there are no texts to have scores."""
    known = {name for row in rows for name, value in row.summary.items() if math.isfinite(value)}
    return COST_COLUMNS if "flops_per_token" in known and "texts" not in known else COLUMNS


def plugged_columns() -> list[Column]:
    """Columns of plug-ins' metrics, with unit and direction."""
    return [
        Column(
            f"{one.label}\n{' '.join(filter(None, (one.unit, sign(one.name))))}",
            _score(one.name, _decimals(one.digits), _decimals(one.digits)),
        )
        for one in plugged().values()
    ]


# What `cdeval.score` shows: published figures have four digits of diversity, and texts of others no costs.
SCORE_COLUMNS = (
    Column("texts", _score("texts", _whole, _whole)),
    Column("words", _score("words", _decimals(2), _whole)),
    Column(f"diversity\n{sign('diversity')}", _score("diversity", _fraction_of(4), _fraction_of(4))),
    *COLUMNS[2:5],
)
DIAGNOSTIC_COLUMNS = (
    *(
        Column(f"rep-{order}\n{sign(f'rep_{order}')}", _score(f"rep_{order}", _fraction_of(4), _fraction))
        for order in (2, 3, 4)
    ),
    Column(f"repeats\nafter {sign('repetition_onset')}", _score("repetition_onset", _decimals(1), _whole)),
    Column(f"longest\nrepeat {sign('longest_repeat')}", _score("longest_repeat", _decimals(2), _decimals(1))),
    Column("names in\nprompt", _score("entity_overlap", _fraction, _fraction)),
    Column("tokens", _score("tokens", _decimals(2), _whole)),
)
EXTRA_COLUMNS = (
    *(
        Column(f"distinct-{order}\n{sign(f'distinct_{order}')}", _score(f"distinct_{order}", _fraction, _fraction))
        for order in (1, 2, 3, 4)
    ),
    Column(f"self-BLEU\n{sign('self_bleu')}", _score("self_bleu", _fraction, _fraction)),
)
