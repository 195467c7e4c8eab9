import math

import numpy as np
import pytest

from cdeval.metrics.compare import Settings
from cdeval.metrics.rows import mean_rows
from cdeval.metrics.stats import by_document, interval, ratio_of_sums

SETTINGS = Settings(draws=200)


def test_samples_of_a_prompt_become_one_row_wherever_they_stand() -> None:
    values = np.array([[1.0, 1], [2, 1], [4, 1], [8, 1]])
    assert by_document(values, ["a", "b", "a", "c"]).tolist() == [[5, 2], [2, 1], [8, 1]]
    assert by_document(values, ["a", "b", "a.window-2", "a.b"]).tolist() == [[5, 2], [2, 1], [8, 1]]
    assert by_document(values, ["a", "b", "c", "d"]) is values


@pytest.mark.parametrize("another", ["{}", "{}.window-{}"])
def test_a_mean_counts_texts_and_its_interval_counts_documents(another: str) -> None:
    """Ten texts of each of 25 documents that differ between these only: texts as units would narrow by √10."""
    values = np.repeat(np.random.default_rng(0).uniform(size=25), 10).reshape(-1, 1)
    prompts = [another.format(index // 10, index % 10 + 2) for index in range(250)]
    found = mean_rows(values, prompts, "").estimate(SETTINGS)
    assert (found.n, found.missing) == (250, 0)
    assert found.value == pytest.approx(values.mean())
    of_prompts = interval(np.column_stack([values[::10, 0], np.ones(25)]), ratio_of_sums, 0.95, 200, 0)
    np.testing.assert_allclose([found.low, found.high], of_prompts, rtol=1e-9)
    naive = mean_rows(values, [str(index) for index in range(250)], "").estimate(SETTINGS)
    assert naive.high - naive.low < 0.6 * (found.high - found.low)


def test_samples_do_not_make_up_for_prompts_and_the_note_says_why_there_is_no_interval() -> None:
    """Four prompts gave a diversity of -0.997 (-312 to +310) without a word."""
    values = np.random.default_rng(0).uniform(size=(40, 1))
    few = mean_rows(values, [str(index // 10) for index in range(40)], "mean").estimate(SETTINGS)
    assert few.value == pytest.approx(values.mean())
    assert math.isnan(few.low)
    assert math.isnan(few.high)
    assert few.note == "mean; no interval: fewer than 20 prompts have a value"
    enough = mean_rows(values, [str(index // 2) for index in range(40)], "mean").estimate(SETTINGS)
    assert enough.low < enough.value < enough.high
    assert enough.note == "mean"


def test_missing_texts_of_a_prompt_leave_its_others() -> None:
    found = mean_rows(np.array([[1.0], [np.nan], [3.0]]), ["a", "a", "b"], "").estimate(SETTINGS)
    assert (found.value, found.n, found.missing) == (2.0, 2, 1)
