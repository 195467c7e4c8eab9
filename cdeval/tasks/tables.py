"""Arms and tasks as tables: accuracies with intervals, FLOPs and milliseconds an item, and paired differences."""

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from cdeval.records import Comparison, Estimate
from cdeval.report.table import MISSING
from cdeval.store.escaping import github_table, markdown, printable
from cdeval.tasks.results import TaskRow, TasksResult

_HEADERS = ("arm", "items", "GFLOPs an item", "ms an item")
_DIFFERENCES = ("arm", "metric", "difference", "interval", "p", "p (Holm)")


def task_tables(result: TasksResult) -> list[Table]:
    """Make a table a task, a row an arm, and one of the differences."""
    return [_table(title, headers, rows) for title, headers, rows in _grids(result)]


def markdown_tables(result: TasksResult) -> str:
    """Write the same as GitHub tables, and the notes below."""
    parts = []
    for title, headers, rows in _grids(result):
        parts.append(f"{markdown(title)}\n\n{github_table(headers, rows)}\n")
    return "\n".join([*parts, *(f"- {markdown(note)}" for note in result.notes), ""])


def _grids(result: TasksResult) -> list[tuple[str, list[str], list[list[str]]]]:
    found = []
    for task in dict.fromkeys(row.task for row in result.rows):
        rows = [row for row in result.rows if row.task == task]
        metrics = list(dict.fromkeys(name for row in rows for name in row.scores))
        found.append((task, [_HEADERS[0], *metrics, *_HEADERS[1:]], [_cells(row, metrics) for row in rows]))
    if result.comparisons:
        title = f"differences from {result.comparisons[0].against}"
        found.append((title, list(_DIFFERENCES), _rows(result.comparisons)))
    return found


def _cells(row: TaskRow, metrics: Sequence[str]) -> list[str]:
    scores = [_estimate(row.scores[name]) if name in row.scores else MISSING for name in metrics]
    return [row.arm, *scores, str(row.items), _short(row.flops / 1e9), _short(row.seconds * 1e3)]


def _rows(comparisons: Sequence[Comparison]) -> list[list[str]]:
    return [
        [
            one.arm,
            one.metric,
            f"{one.difference.value:+.3f}" if math.isfinite(one.difference.value) else MISSING,
            _ends(one.difference),
            f"{one.p:.3f}" if math.isfinite(one.p) else MISSING,
            f"{one.p_holm:.3f}" if math.isfinite(one.p_holm) else MISSING,
        ]
        for one in comparisons
    ]


def _ends(found: Estimate) -> str:
    return f"{found.low:+.3f} to {found.high:+.3f}" if math.isfinite(found.low) else MISSING


def _estimate(found: Estimate) -> str:
    if not math.isfinite(found.value):
        return MISSING
    ends = f" ({found.low:.3f}–{found.high:.3f})" if math.isfinite(found.low) else ""
    return f"{found.value:.3f}{ends}"


def _short(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else MISSING


def _table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=Text(printable(title), style="bold"), box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    for place, header in enumerate(headers):
        table.add_column(Text(printable(header)), justify="left" if place == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table
