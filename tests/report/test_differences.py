"""Differences as people read them."""

import math
from dataclasses import replace

from cdeval.records import Comparison, Estimate
from cdeval.report.differences import differences_grids, differences_markdown
from cdeval.report.narrow import fitted


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
    (grid,) = differences_grids([found("diversity", -0.2)], {"exit | [b]": "b"}).values()
    text = " ".join(fitted(grid, 80).lines)
    assert "b: diversity" in text
    assert "-0.200 -0.300 to -0.100" in text


def test_nothing_to_compare_is_nothing() -> None:
    assert differences_markdown([]) == ""
    assert differences_grids([], {}) == {}
    assert differences_grids([found("diversity", math.nan)], {}) == {}


def test_every_control_has_a_table_of_its_own() -> None:
    """A difference from beam search beside one from greedy search would be read as from the same arm."""
    greedy = replace(found("diversity", 0.3, arm="exit greedy"), against="greedy alone")
    page = differences_markdown([found("diversity", 0.2), greedy])
    first, second = page.split("Differences from greedy alone:")
    assert "+0.200" in first
    assert "exit greedy" not in first
    assert "+0.300" in second
    assert list(differences_grids([found("diversity", 0.2), greedy], {})) == ["alone", "greedy alone"]
