"""Perplexity and log-likelihood, as numbers of the same rows."""

import math

import numpy as np

from cdeval.metrics.perplexity import loglik_rows


def test_loglik_is_a_mean_per_token_and_texts_count_alike():
    """Su & Xu average per text first: pooling the tokens as perplexity does would give −2.25 here."""
    rows = loglik_rows(np.array([[3.0, 1.0], [6.0, 3.0], [math.nan, math.nan]]))
    np.testing.assert_array_equal(rows[:, 0], [-3, -2, math.nan])
