"""Intervals over timed passes, against scipy's own and by hand."""

import math

import pytest
from scipy import stats

from cdeval.cost.spread import over_passes, quantiles, ratio_over_turns


def test_a_mean_over_passes_has_students_interval() -> None:
    values = [1.0, 1.2, 0.9, 1.1]
    found = over_passes(values, 0.95)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found == pytest.approx((1.05, expected.low, expected.high))


def test_few_passes_say_less() -> None:
    assert all(map(math.isnan, over_passes([], 0.95)))
    assert over_passes([2.0], 0.95)[0] == 2
    assert all(map(math.isnan, over_passes([2.0], 0.95)[1:]))


def test_ratios_pair_the_turns() -> None:
    found = ratio_over_turns([1.1, 2.2, 4.4], [1.0, 2.0, 4.0], 0.95)
    assert found == pytest.approx((0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match="zip"):
        ratio_over_turns([1.0], [1.0, 2.0], 0.95)


def test_quantiles_are_of_passes_and_not_of_all_tokens_together() -> None:
    """One slow pass of two moves every percentile by half: pooled, it would own the upper ones."""
    passes = [[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]]
    assert {percent: spread.value for percent, spread in quantiles(passes, 0.95).items()} == {50: 2, 90: 2, 99: 2}
    assert quantiles([[1.0, 2.0, 3.0, 4.0, 5.0]], 0.95)[50].value == 3
    assert math.isnan(quantiles([[]], 0.95)[50].value)
