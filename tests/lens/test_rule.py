"""How well margins rank settings: orders that are known, and draws that shake them."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from cdeval.lens.rule import groups, rank_correlation
from cdeval.metrics.diversity import diversity, ngram_counts

# From a loop to a text without one.
TEXTS = ["a b a b a b a b", "a b c a b c a b", "a b c d a b c d", "a b c d e f a b", "a b c d e f g h"]


def counts_of(prompts: int) -> np.ndarray:
    return np.stack([ngram_counts([text] * prompts) for text in TEXTS], axis=1)


def test_the_same_order_is_1_and_the_opposite_one_is_minus_1() -> None:
    margins = np.array([[-3.0, -1.0, 0.5, 200.0, 1e6]] * 20)  # ranks, not distances
    for sign in (1, -1):
        found = rank_correlation(sign * margins, counts_of(20))
        assert (found.value, found.low, found.high, found.n) == pytest.approx((sign, sign, sign, 5))


def test_it_is_scipys_and_passages_and_prompts_both_widen_it() -> None:
    draw = np.random.default_rng(0)
    true = np.linspace(0, 1, 5)
    counts = np.stack(
        [ngram_counts([TEXTS[draw.integers(0, place + 1)] for _ in range(20)]) for place in range(5)], axis=1
    )
    steady, shaken = np.tile(true, (20, 1)), true + draw.normal(0, 2.5, (20, 5))
    for margins in (steady, shaken):
        expected = spearmanr(margins.mean(axis=0), [diversity(counts[:, place]) for place in range(5)]).statistic
        assert rank_correlation(margins, counts).value == pytest.approx(expected)
    of_prompts = rank_correlation(steady, counts)
    assert of_prompts.low < of_prompts.high
    of_passages = rank_correlation(shaken, counts_of(20))
    assert of_passages.low < of_passages.high
    of_both = rank_correlation(shaken, counts)
    assert of_both.low < of_both.value < of_both.high


@pytest.mark.parametrize(("passages", "prompts"), [(19, 20), (20, 19)])
def test_few_passages_or_prompts_have_no_interval(passages: int, prompts: int) -> None:
    found = rank_correlation(np.tile(np.arange(5.0), (passages, 1)), counts_of(prompts))
    assert found.value == pytest.approx(1)
    assert math.isnan(found.low)
    assert "fewer than 20" in found.note


def test_too_few_settings_have_no_order() -> None:
    found = rank_correlation(np.zeros((3, 3)), counts_of(2)[:, :3])
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    assert found.n == 3


def test_settings_are_ranked_within_their_search_and_lens_the_expert_alone_with_every_lens() -> None:
    lenses, alphas = ["norm", "tuned", "norm", ""], ["α=0.1", "α=0.1", "α=0.3", ""]
    assert groups(["beam", "beam", "greedy", "beam"], lenses, alphas) == {
        "beam, all": [0, 1, 3],
        "beam, norm": [0, 3],
        "beam, tuned": [1, 3],
        "greedy, all": [2],
    }
