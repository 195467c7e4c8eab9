import math
import time

import numpy as np
import pytest
from scipy.stats import bootstrap

from cdeval.metrics.compare import counted
from cdeval.metrics.diversity import diversity
from cdeval.metrics.stats import MANY, in_groups, interval, ratio_of_sums


def test_a_ratio_of_sums_by_hand():
    assert ratio_of_sums(np.array([[1.0, 2.0], [3.0, 6.0]])) == 0.5
    assert math.isnan(ratio_of_sums(np.zeros((2, 2))))


@pytest.mark.parametrize("statistic", [diversity, ratio_of_sums])
def test_equals_scipys_bootstrap_of_the_rows_themselves(statistic):
    """Counting how often a text is drawn is the same as drawing its row, and leaving one out as doing without it."""
    rows = np.random.default_rng(9).integers(1, 100, size=(31, 6)).astype(float)
    data, of_rows = (np.arange(31),), lambda drawn, axis: statistic(rows[drawn])
    rng = np.random.default_rng(4)
    theirs = bootstrap(data, of_rows, vectorized=True, axis=-1, n_resamples=400, confidence_level=0.9, rng=rng)
    ours = interval(rows, statistic, 0.9, 400, 4)
    np.testing.assert_allclose(ours, theirs.confidence_interval, rtol=1e-12)


def test_coverage_of_a_mean():
    """Some 90 of 100 intervals at 90 % hold the true mean; a percentile slip (5 % as 10 %) leaves these bounds."""
    rng = np.random.default_rng(1)
    samples = [counted(sample) for sample in rng.normal(3.0, 2.0, size=(300, 40, 1))]
    found = [interval(sample, ratio_of_sums, 0.9, 200, i) for i, sample in enumerate(samples)]
    held = [low <= 3.0 <= high for low, high in found]
    assert 0.84 <= np.mean(held) <= 0.94


def test_width_agrees_with_theory():
    rows = np.random.default_rng(2).normal(size=(400, 1))
    low, high = interval(counted(rows), ratio_of_sums, 0.95, 4000, 0)
    assert high - low == pytest.approx(2 * 1.96 * rows.std(ddof=1) / 20, rel=0.08)


def test_columns_of_a_text_stay_together():
    """With the second column twice the first, every resample has the same ratio: columns drawn apart would spread."""
    first = np.random.default_rng(3).uniform(1, 100, size=(50, 1))
    low, high = interval(np.hstack([first, 2 * first]), ratio_of_sums, 0.95, 500, 0)
    assert low == pytest.approx(0.5)
    assert high == pytest.approx(0.5)


def test_equal_values_fall_back_to_the_percentile(recwarn: pytest.WarningsRecorder):
    assert interval(counted(np.full((20, 1), 7.0)), ratio_of_sums, 0.95, 200, 0) == (7.0, 7.0)
    assert not recwarn.list


def test_skewed_data_shift_the_interval():
    """BCa moves both ends towards the long tail; the percentile interval ends at 2.5 % and 97.5 % of the resamples."""
    rows = np.random.default_rng(4).lognormal(0, 1.5, size=(40, 1))
    low, high = interval(counted(rows), ratio_of_sums, 0.95, 4000, 0)
    draws = rows[np.random.default_rng(5).integers(40, size=(4000, 40)), 0].mean(1)
    assert (draws < low).mean() > 0.05
    assert (draws > high).mean() < 0.01


@pytest.mark.parametrize(
    ("texts", "empty", "has"), [(0, 0, False), (1, 0, False), (19, 0, False), (20, 0, True), (19, 9, False)]
)
def test_few_texts_have_no_interval(texts: int, empty: int, has: bool):
    """Rows of zeros, as of texts without n-grams, say nothing of the error."""
    rows = np.vstack([counted(np.arange(float(texts))[:, None]), np.zeros((empty, 2))])
    assert [math.isfinite(end) for end in interval(rows, ratio_of_sums, 0.95, 200, 0)] == [has, has]


def test_seed_decides_and_global_state_stays():
    rows = counted(np.random.default_rng(6).normal(size=(30, 1)))
    before = np.random.get_state()[1].copy()
    assert interval(rows, ratio_of_sums, 0.95, 300, 1) == interval(rows, ratio_of_sums, 0.95, 300, 1)
    assert interval(rows, ratio_of_sums, 0.95, 300, 1) != interval(rows, ratio_of_sums, 0.95, 300, 2)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch):
    """Memory is bounded by working in parts: the parts must add up to the same resamples and leave-one-outs."""
    rows = np.random.default_rng(7).lognormal(size=(60, 2))
    whole = interval(rows, ratio_of_sums, 0.95, 500, 0)
    monkeypatch.setattr("cdeval.metrics.stats._LARGEST", 7 * 60)
    assert interval(rows, ratio_of_sums, 0.95, 500, 0) == pytest.approx(whole, rel=1e-12)


def test_fast_enough_for_a_report():
    counts = np.random.default_rng(8).integers(1, 100, size=(300, 6))
    start = time.perf_counter()
    interval(counts, diversity, 0.95, 2000, 0)
    assert time.perf_counter() - start < 2.0  # 0.1 s alone; a Python loop over draws takes far longer


def test_more_prompts_than_many_are_drawn_in_groups_in_time_and_as_wide() -> None:
    """Leaving out each of 10^5 prompts once, among as many, never ended."""
    rows = np.random.default_rng(1).normal(5, 2, size=(40_000, 2))
    rows[:, 1] = 1
    found = interval(rows, ratio_of_sums, 0.95, 1000, 0)
    width = 2 * 1.96 * 2 / math.sqrt(len(rows))
    assert found.high - found.low == pytest.approx(width, rel=0.1)
    assert found.low < 5 < found.high
    assert found == interval(rows, ratio_of_sums, 0.95, 1000, 0)


def test_groups_hold_every_row_once_and_few_rows_are_left_as_they_are() -> None:
    rows = np.arange(2 * (MANY + 1), dtype=np.float64).reshape(-1, 2)
    assert in_groups(rows[:MANY]) is not None
    np.testing.assert_array_equal(in_groups(rows[:MANY]), rows[:MANY])
    grouped = in_groups(rows)
    assert len(grouped) < MANY
    np.testing.assert_allclose(grouped.sum(axis=0), rows.sum(axis=0))
