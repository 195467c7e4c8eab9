"""Paired differences between arms as a table: the interval, the corrected p-value, and what could have been seen."""

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from cdeval.records import Comparison
from cdeval.reporting.table import MISSING, escaped, printable

# All comparisons are in comparisons.json, and in the family of Holm's correction; these are shown.
SHOWN = ("diversity", "mauve", "coherence", "perplexity_expert")
_HEADERS = ("arm", "metric", "difference", "interval", "p (Holm)", "seen from")


def differences_table(comparisons: Sequence[Comparison]) -> Table | None:
    """For a terminal; None where there is nothing to compare."""
    rows = _rows(comparisons)
    if not rows:
        return None
    table = Table(
        title=Text(f"differences from {printable(comparisons[0].against)}", style="bold"),
        caption=Text(_legend(comparisons)),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1),
    )
    for place, header in enumerate(_HEADERS):
        table.add_column(header, justify="right" if place > 1 else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def differences_markdown(comparisons: Sequence[Comparison]) -> str:
    """The same as a GitHub table; empty where there is nothing to compare."""
    rows = _rows(comparisons)
    if not rows:
        return ""
    lines = [_HEADERS, ("---", "---", "---:", "---:", "---:", "---:"), *rows]
    table = "\n".join(f"| {' | '.join(escaped(cell) for cell in line)} |" for line in lines)
    return f"Differences from {escaped(comparisons[0].against)}:\n\n{table}\n\n{escaped(_legend(comparisons))}\n"


def _rows(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    return [
        (
            found.arm,
            found.metric,
            _signed(found.difference.value),
            f"{_signed(found.difference.low)} to {_signed(found.difference.high)}",
            f"{found.p_holm:.3f}" if math.isfinite(found.p_holm) else MISSING,
            f"{found.detectable:.3f}" if math.isfinite(found.detectable) else MISSING,
        )
        for name in SHOWN
        for found in comparisons
        if found.metric == name and math.isfinite(found.difference.value)
    ]


def _legend(comparisons: Sequence[Comparison]) -> str:
    prompts = max(found.difference.n for found in comparisons)
    tests = sum(math.isfinite(found.p) for found in comparisons)
    return (
        f"Paired by prompt, {prompts} prompts; p corrected for all {tests} comparisons (comparisons.json). "
        "seen from: the smallest difference that a study of this size finds 4 times of 5."
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}" if math.isfinite(value) else MISSING
