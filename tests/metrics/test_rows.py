import numpy as np
import pytest

from cdeval.config import MetricsConfig
from cdeval.metrics.rows import by_prompt, mean_rows
from cdeval.metrics.stats import interval, ratio_of_sums

CONFIG = MetricsConfig(bootstrap_draws=200)


def test_samples_of_a_prompt_become_one_row_wherever_they_stand() -> None:
    values = np.array([[1.0, 1], [2, 1], [4, 1], [8, 1]])
    assert by_prompt(values, ["a", "b", "a", "c"]).tolist() == [[5, 2], [2, 1], [8, 1]]
    assert by_prompt(values, ["a", "b", "c", "d"]) is values


def test_a_mean_counts_texts_and_its_interval_counts_prompts() -> None:
    """Ten samples of each of five prompts that differ between prompts only: texts as units would narrow by √10."""
    values = np.repeat(np.array([0.1, 0.4, 0.5, 0.7, 0.9]), 10).reshape(-1, 1)
    prompts = [str(index // 10) for index in range(50)]
    found = mean_rows(values, prompts, "").estimate(CONFIG, seed=0)
    assert (found.n, found.missing) == (50, 0)
    assert found.value == pytest.approx(values.mean())
    five = np.column_stack([values[::10, 0], np.ones(5)])
    of_prompts = interval(five, ratio_of_sums, 0.95, 200, 0)
    np.testing.assert_allclose([found.low, found.high], of_prompts, atol=0.02)  # ties of so few values round apart
    naive = mean_rows(values, [str(index) for index in range(50)], "").estimate(CONFIG, seed=0)
    assert naive.high - naive.low < 0.6 * (found.high - found.low)


def test_missing_texts_of_a_prompt_leave_its_others() -> None:
    found = mean_rows(np.array([[1.0], [np.nan], [3.0]]), ["a", "a", "b"], "").estimate(CONFIG, seed=0)
    assert (found.value, found.n, found.missing) == (2.0, 2, 1)
