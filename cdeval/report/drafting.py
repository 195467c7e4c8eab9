"""The table that says whether drafting would pay: layers down, and lenses across, two at a time."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from cdeval.records import Drafting
from cdeval.report.table import MISSING
from cdeval.store.escaping import printable

_HEADERS = ("greedy", "m", "×", "drawn", "m", "×")
_LEGEND = (
    "greedy, drawn: share of an exit's drafts, its likeliest token or a drawn one, that the contrast accepts; m: the "
    "best number of drafts at a time; ×: the speed-up that follows if bytes alone take time, below 1 it is slower"
)


def drafting_tables(found: Sequence[Drafting], title: str) -> Iterator[Table]:
    """Show how often drafts would be accepted and what that brings, for a terminal of 80 columns."""
    every = list(dict.fromkeys(one.lens for one in found))
    for start in range(0, len(every), 2):
        lenses = every[start : start + 2]
        table = Table(
            title=Text(printable(title), style="bold"),
            caption=Text(_LEGEND) if start + 2 >= len(every) else None,
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            padding=(0, 1, 0, 0),
        )
        table.add_column("\nlayer", justify="right", no_wrap=True)
        for lens in lenses:
            for place, header in enumerate(_HEADERS):
                name = "" if place else lens.replace("least_squares", "l.squares")  # no wider than its column
                table.add_column(f"{name}\n{header}", justify="right", no_wrap=True)
        for layer in dict.fromkeys(one.layer for one in found):
            mine = {one.lens: one for one in found if one.layer == layer}
            table.add_row(str(layer), *(cell for lens in lenses for cell in _cells(mine.get(lens))))
        yield table


def _cells(one: Drafting | None) -> tuple[str, ...]:
    if one is None:
        return (MISSING,) * len(_HEADERS)
    return tuple(
        cell
        for how in (one.greedy, one.sampling)
        for cell in (f"{how.accepted:.0%}", str(how.drafts), f"{how.speed_up:.2f}")
    )
