"""The tables that the bench prints: one a group, then the goals."""

import math
from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from cdeval.bench.goals import Goal
from cdeval.bench.plan import BenchTiming, GroupResult, exponents
from cdeval.report.table import MISSING
from cdeval.store.escaping import printable

_MET = {True: "yes", False: "no", None: "not measured"}


HEADERS = ("median\ns", "min–max\ns", "ms\n/step", "tokens\n/s", "ratio\n*", "of the\nlimit", "same\ntokens")


def group_rows(result: GroupResult) -> list[tuple[str, ...]]:
    """A row an arm: its name, and a cell for each of `HEADERS`; ratios are over the arm marked with a star."""
    return [
        (
            printable(name) + (" *" if name == result.reference else ""),
            _seconds(timing.median),
            f"{_seconds(min(timing.seconds))}–{_seconds(max(timing.seconds))}",
            f"{timing.ms_per_step:.1f}",
            f"{timing.tokens_per_second:.1f}",
            f"{result.ratio(name):.3f}",
            "" if math.isnan(timing.of_limit) else f"{timing.of_limit:.0%}",
            _same(timing),
        )
        for name, timing in result.timings.items()
    ]


def group_table(result: GroupResult) -> Table:
    """One row an arm, for a terminal."""
    table = _table(f"{result.name}: {result.title}")
    table.add_column("arm", overflow="fold")
    for header in HEADERS:
        table.add_column(header, justify="right", no_wrap=True)
    for name, *cells in group_rows(result):
        table.add_row(Text(name), *cells)
    table.caption = Text("\n".join(growth_lines(result)))
    return table


def growth_lines(result: GroupResult) -> list[str]:
    """Say how the lines of a growth group grow: between neighbouring points, time ~ x^p (0 free, 1 linear)."""
    lines = []
    for series, timings in series_of(result).items():
        points = [(float(timing.x or 1), timing.median) for timing in timings]
        if len(points) < 2:
            continue
        powers = " ".join(f"{power:.2f}" for power in exponents(points))
        places = " ".join(f"{x:.0f}" for x, _ in points)
        lines.append(f"{series}: at {places} {result.axis}, time ~ x^p with p = {powers}")
    return lines


def series_of(result: GroupResult) -> dict[str, list[BenchTiming]]:
    """The lines of a growth group, by their names; none in other groups."""
    lines: dict[str, list[BenchTiming]] = {}
    for timing in sorted(result.timings.values(), key=lambda timing: timing.x or 0):
        if timing.x is not None:
            lines.setdefault(timing.series, []).append(timing)
    return lines


def goal_rows(goals: Iterable[Goal]) -> list[tuple[str, ...]]:
    """A row a goal: goal, wanted, measured, verdict."""
    return [
        (
            goal.text,
            f"≤ {goal.most:g}" if math.isfinite(goal.most) else f"≥ {goal.least:g}",
            MISSING if math.isnan(goal.measured) else f"{goal.measured:.3g}",
            _MET[goal.met],
        )
        for goal in goals
    ]


def goals_table(goals: Iterable[Goal], notes: Sequence[str]) -> Table:
    """Goal, measurement, verdict, for a terminal."""
    table = _table("goals")
    table.add_column("goal", overflow="fold")
    for header in ("wanted", "measured", "met"):
        table.add_column(header, justify="right", no_wrap=True)
    for text, *cells in goal_rows(goals):
        table.add_row(Text(text), *cells)
    table.caption = Text("\n".join(printable(note) for note in notes))
    return table


def _table(title: str) -> Table:
    return Table(
        title=Text(printable(title), style="bold"),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=0,
    )


def _seconds(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _same(timing: BenchTiming) -> str:
    return "" if math.isnan(timing.same_tokens) else f"{100 * timing.same_tokens:.1f} %"
