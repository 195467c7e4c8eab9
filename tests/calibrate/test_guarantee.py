"""Learn then Test: p-values by hand and by exact sums, the choice by simulation."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from cdeval.calibrate.guarantee import fixed_sequence, p_value, texts_needed

TOLERANCE, LEVEL = 0.25, 0.05
# Mean risks from the most cautious threshold down; the last two are unsafe.
RISKS = (0.02, 0.08, 0.15, 0.24, 0.26, 0.4)
SAFE = 4


def binomial(successes: int, n: int, p: float) -> float:
    """P[Bin(n, p) <= successes], term by term."""
    return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(successes + 1))


def test_the_p_value_by_hand() -> None:
    """A floor for the ceiling, or a divergence the wrong way round, gives other numbers."""
    hoeffding = math.exp(-50 * (0.1 * math.log(0.5) + 0.9 * math.log(0.9 / 0.8)))
    bentkus = math.e * binomial(5, 50, 0.2)
    assert bentkus < hoeffding
    assert p_value(0.1, 50, 0.2) == pytest.approx(bentkus)
    assert p_value(0.0999, 50, 0.2) == pytest.approx(bentkus), "5 of 50 at most, not 4"
    assert p_value(0.02, 50, 0.2) == pytest.approx(math.exp(-50 * (0.02 * math.log(0.1) + 0.98 * math.log(0.98 / 0.8))))
    assert p_value(0.0, 20, 0.25) == pytest.approx(0.75**20)
    assert p_value(0.25, 20, 0.25) == 1.0
    assert p_value(1.0, 20, 0.25) == 1.0


@pytest.mark.parametrize("texts", [5, 20, 60])
@pytest.mark.parametrize("tolerance", [0.05, 0.25, 0.6])
def test_a_p_value_is_small_no_more_often_than_it_says(texts: int, tolerance: float) -> None:
    """Exactly, for risks of 0 and 1 whose mean is the tolerance: P(p <= u) <= u."""
    outcomes = [
        (p_value(k / texts, texts, tolerance), math.comb(texts, k) * tolerance**k * (1 - tolerance) ** (texts - k))
        for k in range(texts + 1)
    ]
    for level in (0.001, 0.01, 0.05, 0.1, 0.2, 0.5):
        assert sum(weight for p, weight in outcomes if p <= level) <= level + 1e-12


def test_testing_stops_at_the_first_that_fails() -> None:
    """A later one is not accepted, however small its p-value is."""
    verdicts = fixed_sequence([0.0, 0.05, 0.3, 0.0], 60, TOLERANCE, LEVEL)
    assert [verdict.accepted for verdict in verdicts] == [True, True, False, False]
    assert verdicts[3].p < LEVEL


def test_as_many_texts_as_it_takes() -> None:
    for tolerance in (0.1, 0.25):
        needed = texts_needed(tolerance, LEVEL)
        assert p_value(0.0, needed, tolerance) <= LEVEL < p_value(0.0, needed - 1, tolerance)


def chosen(verdicts: Sequence[bool]) -> int:
    """Place of the lowest accepted threshold; -1 for none."""
    return sum(verdicts) - 1


def draws(kind: str, number: int, texts: int) -> np.ndarray:
    """Risks [draw, threshold, text] of the means RISKS; of one text at all thresholds together."""
    rng = np.random.default_rng(0)
    means = np.array(RISKS)[None, :, None]
    if kind == "all or nothing":
        return (rng.random((number, 1, texts)) < means).astype(float)
    if kind == "independent":
        return (rng.random((number, len(RISKS), texts)) < means).astype(float)
    return rng.beta(8 * means, 8 * (1 - means), (number, len(RISKS), texts))


@pytest.mark.parametrize("kind", ["all or nothing", "independent", "spread"])
def test_an_unsafe_threshold_is_chosen_no_more_often_than_promised(kind: str) -> None:
    """4000 calibrations of 100 texts; what is chosen by the mean risk alone breaks the promise."""
    number, texts = 4000, 100
    means = draws(kind, number, texts).mean(axis=-1)
    found = [chosen([v.accepted for v in fixed_sequence(list(row), texts, TOLERANCE, LEVEL)]) for row in means]
    wrong = sum(place >= SAFE for place in found) / number
    assert wrong <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / number)
    assert sum(place >= 1 for place in found) / number > 0.9, "a choice that is never made keeps any promise"
    careless = sum(max(np.flatnonzero(row <= TOLERANCE), default=-1) >= SAFE for row in means) / number
    assert careless > 2 * LEVEL, "the promise would have held anyway"


@pytest.mark.long
def test_the_promise_holds_where_every_threshold_is_unsafe() -> None:
    """Many of them: without a sequence, the chance that one of 20 passes would be far above the level."""
    rng = np.random.default_rng(1)
    number, texts = 4000, 50
    means = (rng.random((number, 20, texts)) < TOLERANCE + 1e-9).mean(axis=-1)
    verdicts = [fixed_sequence(list(row), texts, TOLERANCE, LEVEL) for row in means]
    wrong = sum(row[0].accepted for row in verdicts) / number
    assert wrong <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / number)
    assert sum(any(verdict.p <= LEVEL for verdict in row) for row in verdicts) / number > 2 * LEVEL
