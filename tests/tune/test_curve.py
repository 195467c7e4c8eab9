"""The best of n settings against all ways to have tried n of them."""

import math
from itertools import combinations
from statistics import fmean

import numpy as np
import pytest

from cdeval.tune.curve import best_of_each

VALUES = np.array([0.3, math.nan, 0.9, 0.5, 0.5, math.nan])


def naive(n: int) -> tuple[float, float]:
    """The mean best of the ways that have a value, and their share."""
    ways = [[value for value in way if not math.isnan(value)] for way in combinations(VALUES, n)]
    best = [max(way) for way in ways if way]
    return fmean(best), len(best) / len(ways)


def test_the_curve_is_the_mean_over_all_ways_to_have_tried_n() -> None:
    draws = np.tile(VALUES, (50, 1))
    curve = best_of_each(VALUES, draws, 0.95, prompts=40, seed=0)
    assert [point.n for point in curve] == [1, 2, 3, 4, 5, 6]
    for point in curve:
        value, share = naive(point.n)
        assert point.value == pytest.approx(value)
        assert point.valued == pytest.approx(share)
        assert point.low <= point.value <= point.high
    assert (curve[-1].low, curve[-1].high) == (0.9, 0.9), "in the same texts the best of all is the same in every order"
    assert curve[0].low < curve[0].high, "the first one is another in another order"


def test_prompts_make_an_interval_where_orders_make_none() -> None:
    draws = np.random.default_rng(1).normal(0.5, 0.1, (4000, 1))
    (point,) = best_of_each(np.array([0.5]), draws, 0.9, prompts=20, seed=0)
    assert (point.low, point.high) == pytest.approx((0.5 - 0.1645, 0.5 + 0.1645), abs=0.01)
    (few,) = best_of_each(np.array([0.5]), draws, 0.9, prompts=19, seed=0)
    assert few.value == 0.5
    assert math.isnan(few.low)


def test_nothing_with_a_value_is_no_value() -> None:
    nothing = np.full(3, math.nan)
    for point in best_of_each(nothing, np.tile(nothing, (5, 1)), 0.95, prompts=40, seed=0):
        assert math.isnan(point.value)
        assert math.isnan(point.low)
        assert point.valued == 0
