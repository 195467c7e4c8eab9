"""Agreement and judged arms as lines for a screen, and as Markdown."""

import math
import textwrap
from collections.abc import Sequence

from cdeval.judge.agreement import Agreement
from cdeval.judge.results import JudgedArm, JudgeHabits, JudgeResult
from cdeval.records import Estimate
from cdeval.report.narrow import Grid, fitted
from cdeval.report.table import MISSING, Cell
from cdeval.store.escaping import github_table, markdown, printable

_AGREEMENT = ("agreement", "interval", "than\nchance", "pairs", "balanced", "interval")
_ARMS = ("preferred", "interval", "win", "tie", "loss", "p", "p (Holm)")


def judge_lines(result: JudgeResult, width: int) -> list[str]:
    """Lay everything out for a screen of so many cells."""
    lines: list[str] = []
    for title, headings, rows in _grids(result):
        grid = Grid(headings, [printable(row[0]) for row in rows], [list(map(Cell, row[1:])) for row in rows])
        lines += [printable(title), "", *fitted(grid, width, None).lines, ""]
    for note in result.notes:
        lines += textwrap.wrap(printable(note), max(20, width), subsequent_indent="  ")
    return lines


def judge_markdown(result: JudgeResult) -> str:
    """Write the same as GitHub tables, and the notes below."""
    parts = []
    for title, headings, rows in _grids(result):
        named = ["", *(heading.replace("\n", " ") for heading in headings)]
        parts.append(f"{markdown(title)}\n\n{github_table(named, rows)}\n")
    return "\n".join([*parts, *(f"- {markdown(note)}" for note in result.notes), ""])


def _grids(result: JudgeResult) -> list[tuple[str, Sequence[str], list[list[str]]]]:
    found: list[tuple[str, Sequence[str], list[list[str]]]] = []
    if result.arms:
        found.append((f"judged by {result.judge}", _ARMS, [_arm(one) for one in result.arms]))
    own = [] if result.calibrated is None else [result.calibrated]
    every = [*own, *result.scale, *result.metrics]
    if every:
        found.append(("agreement with people", _AGREEMENT, [_agreed(one) for one in every]))
    return found


def _agreed(one: Agreement) -> list[str]:
    label = f"{one.name} ({one.prefers} of it)" if one.prefers else one.name
    own = [number(one.found.value), ends(one.found), one.against_chance or MISSING, str(one.found.n)]
    return [label, *own, number(one.balanced.value), ends(one.balanced)]


def _arm(one: JudgedArm) -> list[str]:
    p, holm = (f"{p:.3f}" if math.isfinite(p) else MISSING for p in (one.comparison.p, one.comparison.p_holm))
    shares = [f"{share:.0%}" for share in (one.win, one.tie, one.loss)]
    return [f"{one.arm} over {one.against}", number(one.preference.value), ends(one.preference), *shares, p, holm]


def number(value: float) -> str:
    """Three decimals as printed in papers; a dash where there is no value."""
    return f"{value:.3f}".removeprefix("0") if math.isfinite(value) else MISSING


def ends(found: Estimate) -> str:
    """The ends of an interval; a dash where there is none."""
    return f"{number(found.low)}–{number(found.high)}" if math.isfinite(found.low) else MISSING


def habits_line(judge: str, habits: JudgeHabits) -> str:
    """Say what judging took, and whether the judge looks at the order."""
    parts = [f"{judge}: {habits.pairs} pairs"]
    if math.isfinite(habits.both):
        parts.append(
            f"both orders prefer the same text in {habits.both:.0%}, and what stands first is preferred by "
            f"{number(habits.firsts)} (.500 is no habit)"
        )
    costs = [f"{habits.seconds:.2g} s"]
    costs += [f"{habits.tokens:.0f} tokens"] if math.isfinite(habits.tokens) else []
    costs += [f"{habits.flops / 1e9:.3g} GFLOPs"] if math.isfinite(habits.flops) else []
    return f"{'; '.join(parts)}; {', '.join(costs)} a pair"


def calibration_line(judge: str, calibrated: Agreement | None, base: Agreement | None) -> str:
    """Say in plain words how far the judge can be believed."""
    if calibrated is None:
        return (
            f"{judge} was not compared with people: nothing says whether its preferences are theirs. Give pairs that "
            "people have judged, as calibration.path=pairs.json."
        )
    found, balanced = calibrated.found, calibrated.balanced
    said = f"{judge} agrees with people on {number(found.value)} ({ends(found)}) of {found.n} pairs"
    if calibrated.against_chance == "better":
        least = base is not None and base.found.value >= found.value
        arm = "" if base is None else base.name.removeprefix("always ")
        unread = f", and no better than preferring {arm} unread ({number(base.found.value)})" if base and least else ""
        even = f"; balanced over the arms {number(balanced.value)} ({ends(balanced)})" if balanced.n else ""
        return f"{said}: better than chance{unread}{even}."
    verdict = {"worse": "worse than chance: people prefer the other text", "": "no interval, for too few pairs"}
    return (
        f"{said}: {verdict.get(calibrated.against_chance, 'no better than chance')}. What it prefers says nothing "
        "about what people prefer."
    )
