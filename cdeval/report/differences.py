"""Paired differences between arms as a table: the interval, the corrected p-value, and what could have been seen."""

import math
from collections.abc import Mapping, Sequence

from cdeval.metrics.registry import all_metrics, main_metrics
from cdeval.metrics.stats import FEWEST
from cdeval.records import Comparison
from cdeval.report.narrow import Grid
from cdeval.report.table import MISSING, Cell
from cdeval.store.escaping import github_table, markdown

_HEADERS = ("arm", "metric", "difference", "interval", "p (Holm)", "seen from")


def compared(comparisons: Sequence[Comparison]) -> list[str]:
    """Name the metrics whose comparisons are shown: those of every table, and those of plug-ins that are not loaded.

    All comparisons are in comparisons.json, and in the family of Holm's correction.
    """
    every = {metric.name for metric in all_metrics()}
    strange = dict.fromkeys(found.metric for found in comparisons if found.metric not in every)
    return [*(metric.name for metric in main_metrics()), *strange]


def corrected_for(comparisons: Sequence[Comparison]) -> int:
    """Count the comparisons in Holm's correction: those that have a p-value (`cdeval.metrics.compare.holm`)."""
    return sum(math.isfinite(one.p) for one in comparisons)


def correction(families: Mapping[str, int]) -> str:
    """Say how p-values are corrected; empty where there is none.

    Args: families: the comparisons that the correction counted, by study.
    """
    counted = {name: tests for name, tests in families.items() if tests}
    if len(families) > 1 and counted:
        numbers = ", ".join(f"{name} {tests}" for name, tests in counted.items())
        return f"corrected within each study, for all its comparisons that have a p-value ({numbers})"
    return "".join(f"corrected for all {tests} comparisons that have a p-value" for tests in counted.values())


def differences_grids(comparisons: Sequence[Comparison], names: Mapping[str, str]) -> dict[str, Grid]:
    """Lay the differences out for a screen, a table a control, by the control's label; none without comparisons.

    Args: comparisons: all of them. names: short labels of the arms, by label.
    """
    return {
        against: Grid(
            ["difference", "p\n(Holm)", "seen\nfrom"],
            [f"{names.get(arm, arm)}: {metric}" for arm, metric, *_ in mine],
            [
                [Cell(value, "" if ends == MISSING else ends), Cell(p), Cell(seen)]
                for _, _, value, ends, p, seen in mine
            ],
        )
        for against, mine in _by_control(comparisons).items()
    }


def differences_markdown(comparisons: Sequence[Comparison], families: Mapping[str, int] | None = None) -> str:
    """Write the same as GitHub tables; empty without comparisons.

    Args: families: the comparisons that Holm's correction counted, by study, where it counted others than these.
    """
    pages = []
    for against, mine in _by_control(comparisons).items():
        pages.append(f"Differences from {markdown(against)}:\n\n{github_table(_HEADERS, mine, left=2)}\n")
    return "\n".join([*pages, f"{markdown(how_to_read(comparisons, families))}\n"]) if pages else ""


def _by_control(comparisons: Sequence[Comparison]) -> dict[str, list[tuple[str, ...]]]:
    """Group the rows that are shown by the arm that is subtracted."""
    controls = dict.fromkeys(found.against for found in comparisons)
    rows = {control: _rows([found for found in comparisons if found.against == control]) for control in controls}
    return {control: mine for control, mine in rows.items() if mine}


def _rows(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    return [
        (
            found.arm,
            found.metric,
            _signed(found.difference.value),
            f"{_signed(found.difference.low)} to {_signed(found.difference.high)}"
            if math.isfinite(found.difference.low)
            else MISSING,
            f"{found.p_holm:.3f}" if math.isfinite(found.p_holm) else MISSING,
            f"{found.detectable:.3f}" if math.isfinite(found.detectable) else MISSING,
        )
        for name in compared(comparisons)
        for found in comparisons
        if found.metric == name and math.isfinite(found.difference.value)
    ]


def how_to_read(comparisons: Sequence[Comparison], families: Mapping[str, int] | None = None) -> str:
    """Say what the columns of the differences are. Args: families: as of `differences_markdown`."""
    families = families or {"": corrected_for(comparisons)}
    prompts = max(found.difference.n for found in comparisons)
    corrected = correction(families)
    if not corrected:
        return (
            f"Paired by prompt, {prompts} prompts; no interval and no p-value, as no metric has a value in both arms "
            f"for {FEWEST} prompts."
        )
    return (
        f"Paired by prompt, {prompts} prompts; p {corrected} "
        "(comparisons.json). seen from: the smallest difference that a study of this size finds 4 times of 5."
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}" if math.isfinite(value) else MISSING
