"""Tables as lines of plain text that fit a width: no number is cut, and no word is broken.

What qualifies a number stands beside it or below it, or is left out where rows are many. Columns that do not fit beside
each other follow in a further block, or are left out and named where the table would be too long to look at.
"""

import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len

from cdeval.report.table import Cell

GAP = "  "  # between columns
MOST = 50  # lines of a table that is looked at
_LABELS = (44, 36, 30, 24, 18)  # widths to which labels may be wrapped [cells]


class Grid(NamedTuple):
    """What a table shows."""

    headings: Sequence[str]  # of the columns, of one line or more
    labels: Sequence[str]  # of the rows
    entries: Sequence[Sequence[Cell]]  # row by row


class Fitted(NamedTuple):
    """A table that fits."""

    lines: list[str]
    left_out: list[str]  # headings of the columns for which there was no room
    details: bool  # whether what qualifies numbers is shown
    blocks: int = 1


class _Look(NamedTuple):
    """A way to lay a table out."""

    label: int  # cells
    widths: Sequence[tuple[int, int]]  # of each column: its value, and the detail beside it
    below: bool  # the details stand below the values
    details: bool


def fitted(grid: Grid, width: int, most: int | None = MOST) -> Fitted:
    """Lay a table out: with as many columns as there is room for, with details if possible, in few blocks and lines.

    Args:
        grid: the table.
        width: of the screen [cells].
        most: lines, where all is not asked for; None: nothing is left out.
    """
    found = [_laid_out(grid, look, width, most) for look in _looks(grid, width) if most is not None or look.details]

    def worth(one: Fitted) -> tuple[bool, int, bool, int, int]:
        fits = most is None or len(one.lines) <= most
        return fits, -len(one.left_out if fits else one.lines), one.details, -one.blocks, -len(one.lines)

    return max(found, key=worth)


def _looks(grid: Grid, width: int) -> Iterator[_Look]:
    longest = max((cell_len(label) for label in grid.labels), default=0)
    values, details = _widths(grid, detail=False), _widths(grid, detail=True)
    forms = (
        ([(max(one, other), 0) for one, other in zip(values, details, strict=True)], True, True),
        ([(one, other + 1 if other else 0) for one, other in zip(values, details, strict=True)], False, True),
        ([(one, 0) for one in values], False, False),
    )
    for columns, below, shown in forms:
        room = max(1, width - len(GAP) - max(map(sum, columns), default=0))
        for label in sorted({min(one, longest, room) for one in (longest, *_LABELS)}):
            yield _Look(label, columns, below, shown)


def _widths(grid: Grid, *, detail: bool) -> list[int]:
    """The cells that each column takes for its details, or for its values and heading."""
    texts = [[entry.detail if detail else entry.value for entry in row] for row in grid.entries]
    heads = [[] if detail else heading.split("\n") for heading in grid.headings]
    return [max(map(cell_len, [*head, *(row[place] for row in texts)]), default=0) for place, head in enumerate(heads)]


def _laid_out(grid: Grid, look: _Look, width: int, most: int | None) -> Fitted:
    blocks: list[list[int]] = [[]]
    used = look.label
    for place, one in enumerate(look.widths):
        own = len(GAP) + sum(one)
        if blocks[-1] and used + own > width:
            blocks.append([])
            used = look.label
        blocks[-1].append(place)
        used += own
    lines: list[str] = []
    for number, columns in enumerate(blocks):
        block = [*([""] if number else []), *_block(grid, look, columns, width)]
        if number and most is not None and len(lines) + len(block) > most:
            left_out = [grid.headings[place].replace("\n", " ") for rest in blocks[number:] for place in rest]
            return Fitted(lines, left_out, look.details, number)
        lines += block
    return Fitted(lines, [], look.details, len(blocks))


def _block(grid: Grid, look: _Look, columns: Sequence[int], width: int) -> list[str]:
    heads = [grid.headings[place].split("\n") for place in columns]
    deep = max(map(len, heads), default=1)
    lines = []
    for level in range(deep):
        cells = [Cell(head[level - deep]) if level + len(head) >= deep else Cell("") for head in heads]
        lines.append(_line("", cells, look, columns))
    for label, entries in zip(grid.labels, grid.entries, strict=True):
        lines += _row(label, [entries[place] for place in columns], look, columns, width)
    return [*lines[:deep], "─" * max(map(cell_len, lines)), *lines[deep:]]


def _row(label: str, entries: Sequence[Cell], look: _Look, columns: Sequence[int], width: int) -> list[str]:
    above = max(map(cell_len, label.split()), default=0) > look.label  # then the label has lines of its own
    room = (width if above else look.label) * len(label) // max(1, cell_len(label))  # some signs take two cells
    further = GAP if room > len(GAP) + max(map(len, label.split()), default=0) else ""
    words = textwrap.wrap(
        label, max(1, room), subsequent_indent=further, break_long_words=above, break_on_hyphens=False
    )
    numbers = [entries if look.details and not look.below else [Cell(one.value) for one in entries]]
    if look.details and look.below and any(one.detail for one in entries):
        numbers.append([Cell(one.detail) for one in entries])
    beside = [] if above else words
    lines = [
        _line(
            beside[place] if place < len(beside) else "", numbers[place] if place < len(numbers) else [], look, columns
        )
        for place in range(max(len(numbers), len(beside)))
    ]
    return [*(words if above else []), *lines]


def _line(label: str, entries: Sequence[Cell], look: _Look, columns: Sequence[int]) -> str:
    cells = [label + " " * (look.label - cell_len(label))]
    for place, entry in zip(columns, entries, strict=False):  # a row of a label alone has no entries
        value, detail = look.widths[place]
        beside = f" {entry.detail}".ljust(detail) if detail else ""
        cells.append(" " * (value - cell_len(entry.value)) + entry.value + beside)
    return GAP.join(cells).rstrip()
