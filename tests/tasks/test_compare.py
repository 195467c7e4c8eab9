"""Paired comparisons of arms on items: McNemar for right and wrong, the bootstrap for the rest."""

import math

import pytest
from scipy.stats import binom

from cdeval.metrics.compare import Settings
from cdeval.tasks.compare import MCNEMAR, Items, ItemScores, compared, estimate, mcnemar

SETTINGS = Settings(draws=200)


def items(values: list[float]) -> Items:
    return {str(place): value for place, value in enumerate(values)}


def test_mcnemar_counts_the_items_that_one_arm_alone_has_right() -> None:
    """8 to 2 of 20: twice the chance of 8 or more of 10 fair coins."""
    arm, against = [1.0] * 8 + [0.0] * 2 + [1.0] * 5 + [0.0] * 5, [0.0] * 8 + [1.0] * 2 + [1.0] * 5 + [0.0] * 5
    assert mcnemar(arm, against) == pytest.approx(2 * binom.sf(7, 10, 0.5))
    assert mcnemar(against, arm) == mcnemar(arm, against)
    assert mcnemar(arm, arm) == 1.0


def test_accuracies_are_tested_by_mcnemar_and_other_numbers_by_the_bootstrap() -> None:
    right = {"a": items([1.0] * 15 + [0.0] * 5), "b": items([0.0] * 10 + [1.0] * 5 + [0.0] * 5)}
    graded = {"a": items([0.1 * place for place in range(20)]), "b": items([0.1 * place + 0.5 for place in range(20)])}
    found = compared([ItemScores("t", "acc", right), ItemScores("t", "f1", graded)], "b", SETTINGS)
    assert [(one.metric, one.arm, one.against) for one in found] == [("t: acc", "a", "b"), ("t: f1", "a", "b")]
    accuracy, grade = found
    assert accuracy.difference.value == pytest.approx(0.5)
    assert accuracy.p == mcnemar([1.0] * 10, [0.0] * 10) == pytest.approx(2 / 1024)
    assert accuracy.difference.note.startswith(MCNEMAR)
    assert accuracy.difference.low > 0
    assert grade.difference.value == pytest.approx(-0.5)
    assert MCNEMAR not in grade.difference.note
    assert accuracy.p_holm == pytest.approx(2 * min(accuracy.p, grade.p)), "corrected for both"


def test_sums_over_weights_are_ratios_and_few_items_have_no_interval() -> None:
    """As lm_eval has a document's log-likelihood with its words."""
    found = estimate({"0": (-10.0, 2.0), "1": (-20.0, 8.0)}, SETTINGS)
    assert found.value == pytest.approx(-3.0)
    assert math.isnan(found.low)


def test_items_of_one_arm_alone_are_left_out_and_counted() -> None:
    arms = {"a": items([1.0] * 21), "b": items([0.0] * 20)}
    (found,) = compared([ItemScores("t", "acc", arms)], "b", SETTINGS)
    assert (found.difference.n, found.difference.missing) == (20, 1)
