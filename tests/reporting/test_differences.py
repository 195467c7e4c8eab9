"""Differences as people read them."""

import math
from io import StringIO

from rich.console import Console

from cdeval.records import Comparison, Estimate
from cdeval.reporting.differences import differences_markdown, differences_table


def found(metric: str, value: float, p: float = 0.01, arm: str = "exit | [b]") -> Comparison:
    return Comparison(metric, arm, "alone", Estimate(value, value - 0.1, value + 0.1, 64, 0), p, 3 * p, 0.25)


def test_the_headline_metrics_are_shown_and_all_tests_are_counted() -> None:
    """A correction for more tests than are shown must say so, or it looks wrong."""
    comparisons = [found("rep_2", 0.5), found("diversity", 0.2), found("mauve", math.nan, math.nan)]
    page = differences_markdown(comparisons)
    assert "+0.200 | +0.100 to +0.300 | 0.030 | 0.250" in page
    assert "rep_2" not in page
    assert "mauve" not in page
    assert "all 2 comparisons" in page
    assert "exit \\| \\[b\\]" in page, "an arm's name is text"


def test_a_terminal_shows_the_same() -> None:
    console = Console(width=100, record=True, file=StringIO())
    console.print(differences_table([found("diversity", -0.2)]))
    text = console.export_text()
    assert "exit | [b]" in text
    assert "-0.200" in text


def test_nothing_to_compare_is_nothing() -> None:
    assert differences_markdown([]) == ""
    assert differences_table([]) is None
    assert differences_table([found("diversity", math.nan)]) is None
