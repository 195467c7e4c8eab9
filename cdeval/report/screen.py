"""The end of a command on the screen: a verdict in one sentence, a table that fits, and where everything else is.

Notes, intervals that the table has no room for and all differences are in the report; `notes=all` shows them here, too.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cdeval.config.enums import Notes
from cdeval.records import Comparison
from cdeval.report.differences import differences_grids, how_to_read
from cdeval.report.former import MARK
from cdeval.report.narrow import MOST, Fitted, Grid, fitted
from cdeval.report.short import plain_labels
from cdeval.report.summary import DISTURBED, FLATTERED
from cdeval.report.table import MISSING, Cell, Column, Row, cells_of
from cdeval.report.verdict import listed
from cdeval.store.escaping import printable
from cdeval.store.screen import Screen

BEST = "*"


@dataclass(frozen=True, slots=True)
class Results:
    """What a command found, as its screen shows it."""

    name: str  # of the study
    rows: Sequence[Row]
    columns: Sequence[Column]
    comparisons: Sequence[Comparison]
    notes: Sequence[str]
    places: Sequence[str]  # lines that say where the files are
    verdict: str = ""  # one sentence
    warnings: Sequence[str] = ()  # those of the notes that are shown in any case
    families: Mapping[str, int] | None = None  # as of `differences.how_to_read`


def show(results: Results, notes: Notes, console: Screen) -> None:
    """Print results, the table last but for the files' places.

    Args: results: of one study. notes: all of them, or none but warnings. console: to which they are printed.
    """
    everything, width = notes is Notes.all, console.width
    labels = [row.label for row in results.rows]
    names, shared = (dict(zip(labels, labels, strict=True)), "") if everything else _short(results.rows)
    grave = [
        note for note in results.notes if note in results.warnings or note.startswith((MARK, DISTURBED, FLATTERED))
    ]
    lines = _listed(results.notes if everything else grave, width)
    if everything:
        lines += _differences(results, names, width)
    lines += ["", *_wrapped(results.verdict, width)] if results.verdict else []
    table = fitted(_grid(results, names), width, None if everything else MOST)
    lines += [
        "",
        *_wrapped(f"{_title(results)}{f', all with {shared}' if shared else ''}", width),
        "",
        *table.lines,
        "",
        *_wrapped(_legend(results, table, names, everything=everything), width),
    ]
    for line in (*lines, *results.places):
        console.say(line)


def _short(rows: Sequence[Row]) -> tuple[dict[str, str], str]:
    """Shorten the labels of rows; what stands behind all of them, as the search of a sweep, is said once."""
    names = plain_labels([row.label for row in rows])
    parts = {row.label: names[row.label].rpartition(", ") for row in rows if row.role != "human"}
    ends = {end for head, _, end in parts.values() if head}
    if len(parts) < 2 or len(ends) != 1 or not all(head for head, _, _ in parts.values()):
        return names, ""
    heads = [head for head, _, _ in parts.values()]
    return (names | dict(zip(parts, heads, strict=True)), ends.pop()) if len(set(heads)) == len(heads) else (names, "")


def _title(results: Results) -> str:
    decoded = [row for row in results.rows if row.role != "human"]
    texts = {int(row.summary["texts"]) for row in decoded if "texts" in row.summary}
    each = f", {max(texts)} texts each" if len(texts) == 1 else f", {min(texts)} to {max(texts)} texts" if texts else ""
    return f"{results.name}: {_counted(len(decoded), 'arm')}{each}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _grid(results: Results, names: Mapping[str, str]) -> Grid:
    rows, columns = results.rows, results.columns
    cells = [cells_of(row, columns) for row in rows]
    best = [_best(rows, column, [line[place].value for line in cells]) for place, column in enumerate(columns)]
    entries = [
        [
            Cell(cell.value + (BEST if at in best[place] else " " if best[place] else ""), cell.detail)
            for place, cell in enumerate(line)
        ]
        for at, line in enumerate(cells)
    ]
    return Grid(
        [column.header for column in columns], [printable(names[row.label] + row.mark) for row in rows], entries
    )


def _best(rows: Sequence[Row], column: Column, shown: Sequence[str]) -> set[int]:
    """Find the rows with a column's best value, of the decoded texts as they are now; none where all look alike."""
    known = [
        place
        for place, row in enumerate(rows)
        if column.way and row.role != "human" and not row.mark and shown[place] != MISSING
    ]
    if len({shown[place] for place in known}) < 2:
        return set()
    top = max(known, key=lambda place: column.way * rows[place].summary[column.name])
    return {place for place in known if shown[place] == shown[top]}


def _legend(results: Results, table: Fitted, names: Mapping[str, str], *, everything: bool) -> str:
    ranked = any(column.way for column in results.columns)
    parts = [f"{BEST} best decoded"] if ranked else []
    if table.details:
        costs = any(column.cost for column in results.columns)
        parts.append("ranges: intervals" + ("; %: what is added to the expert alone" if costs else ""))
    parts += [f"no room for {', '.join(table.left_out)}"] if table.left_out else []
    hidden = {
        "whole labels": any(name != label for label, name in names.items()),
        "intervals": not table.details,
        _counted(len(results.notes), "note"): bool(results.notes),
        _counted(len(results.comparisons), "difference"): bool(results.comparisons),
    }
    found = [what for what, is_hidden in hidden.items() if is_hidden] if not everything else []
    parts += [f"{listed(found)}: in the report, or here by notes=all"] if found else []
    return "; ".join(parts)


def _differences(results: Results, names: Mapping[str, str], width: int) -> list[str]:
    lines: list[str] = []
    for against, grid in differences_grids(results.comparisons, names).items():
        clean = grid._replace(labels=[printable(label) for label in grid.labels])
        lines += ["", printable(f"differences from {against}"), "", *fitted(clean, width, None).lines]
    return [*lines, *_wrapped(how_to_read(results.comparisons, results.families), width)] if lines else []


def _listed(notes: Iterable[str], width: int) -> list[str]:
    return [line for note in notes for line in _wrapped(note, width, "  ")]


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Break a text between its words; a word that is longer than the screen is left as it is."""
    return textwrap.wrap(
        printable(text),
        max(width, len(indent) + 1),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
