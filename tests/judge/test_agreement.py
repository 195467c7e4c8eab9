"""Agreement with people: by hand, against scipy's Wilson interval, and against a naive count."""

import math
import random

import numpy as np
import pytest
from scipy.stats import binomtest

from cdeval.judge.agreement import agreement, one_arm, one_person, wilson
from cdeval.judge.rated import SIDES, RatedPair
from cdeval.metrics.compare import Settings

SETTINGS = Settings(0.95, 200)


def pair(votes: str, arms: tuple[str, str] = ("x", "y")) -> RatedPair:
    """Votes as letters: a, b, and t for a tie."""
    return RatedPair("i", "p", None, ("a", "b"), arms, tuple({"t": "tie"}.get(vote, vote) for vote in votes))


@pytest.mark.parametrize(("k", "n"), [(0, 5), (3, 7), (50, 100), (9, 9)])
def test_the_interval_is_wilsons(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(0.9, method="wilson")
    assert wilson(k, n, 0.9) == pytest.approx((expected.low, expected.high))


def test_agreement_by_hand() -> None:
    """Right, wrong, neither (a half), no value, and a pair that people leave open."""
    pairs = [pair("aab"), pair("bb"), pair("a"), pair("b"), pair("ab")]
    found = agreement("judge", [1.0, 0.5, 0.0, math.nan, 1.0], pairs, SETTINGS)
    assert found.found.value == pytest.approx(1.5 / 3)
    assert (found.found.n, found.found.missing, found.undecided) == (3, 1, 1)
    assert "1 pairs undecided by people" in found.found.note
    assert found.against_chance == "no better"


def test_who_merely_tells_the_arms_apart_has_a_balanced_half() -> None:
    """Arm x wins 30 of 40 pairs: always x agrees in 30, and balanced in a half."""
    pairs = [pair("a" if place < 30 else "b") for place in range(40)]
    always = one_arm(pairs, SETTINGS)
    assert always is not None
    assert always.name == "always x"
    assert always.found.value == 0.75
    assert always.against_chance == "better"
    assert always.balanced.value == 0.5
    assert always.balanced.low < 0.5 < always.balanced.high
    knows = agreement("judge", [float(one.majority) for one in pairs], pairs, SETTINGS)
    assert knows.balanced.value == 1
    assert agreement("judge", [-1.0] * 30 + [1.0] * 10, pairs, SETTINGS).against_chance == "worse"


def test_the_balanced_interval_is_newcombes_of_a_mean() -> None:
    """Half of the root of the summed squares of both shares' distances to their own Wilson ends."""
    pairs = [pair("a") for _ in range(20)] + [pair("b") for _ in range(5)]
    found = agreement("judge", [1.0] * 15 + [-1.0] * 5 + [-1.0] * 2 + [1.0] * 3, pairs, SETTINGS).balanced
    (low, high), (lower, higher) = wilson(15, 20, 0.95), wilson(2, 5, 0.95)
    assert found.value == pytest.approx((0.75 + 0.4) / 2)
    assert found.low == pytest.approx(found.value - math.hypot(0.75 - low, 0.4 - lower) / 2)
    assert found.high == pytest.approx(found.value + math.hypot(high - 0.75, higher - 0.4) / 2)


def test_no_arms_no_balance() -> None:
    pairs = [pair("a", ("", ""))] * 3
    assert one_arm(pairs, SETTINGS) is None
    assert math.isnan(agreement("judge", [1.0] * 3, pairs, SETTINGS).balanced.value)
    assert agreement("judge", [math.nan], [pair("a")], SETTINGS).against_chance == ""


def test_one_person_is_compared_with_the_others() -> None:
    rng = random.Random(0)
    pairs = [pair("".join(rng.choice("aabt") for _ in range(rng.randint(1, 4)))) for _ in range(60)]
    agreed = asked = 0
    for one in pairs:
        for place, vote in enumerate(one.votes):
            others = [other for at, other in enumerate(one.votes) if at != place]
            lead = others.count("a") - others.count("b")
            if vote in SIDES and lead:
                asked += 1
                agreed += (vote == "a") == (lead > 0)
    found = one_person(pairs, SETTINGS).found
    assert found.value == pytest.approx(agreed / asked)
    assert found.low < found.value < found.high
    assert np.isnan(one_person([pair("a"), pair("tt")], SETTINGS).found.value)
