"""Bootstrap intervals over texts.

A metric hands over one row a text, and a statistic of many rows. Texts are resampled, rows are not computed again, so
an interval costs milliseconds. Prompts are the independent units: tokens of one text are not.

BCa: Efron (1987), "Better bootstrap confidence intervals", J. Amer. Statist. Assoc. 82, by `scipy.stats.bootstrap`.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Num
from numpy.typing import NDArray
from scipy.stats import bootstrap

# Rows [..., text, column] -> one number for each leading index.
Statistic: TypeAlias = Callable[[NDArray[Any]], NDArray[np.float64]]

_LARGEST_GATHER = 4_000_000  # numbers resampled at once: 32 MB of float64


class Interval(NamedTuple):
    """The ends of a confidence interval; NaN, NaN where there is none."""

    low: float
    high: float


NO_INTERVAL = Interval(math.nan, math.nan)


def mean(rows: Num[np.ndarray, "... text column"]) -> Float[np.ndarray, "..."]:
    """The mean over texts of the first column."""
    return np.asarray(rows[..., 0].mean(axis=-1))


def ratio_of_sums(rows: Num[np.ndarray, "... text column"]) -> Float[np.ndarray, "..."]:
    """Sum of the first column over sum of the second, so that long texts weigh more; NaN where the second is 0."""
    sums = rows.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


def interval(
    rows: Num[np.ndarray, "text column"], statistic: Statistic, confidence: float, draws: int, seed: int
) -> Interval:
    """The bootstrap interval of `statistic(rows)` when texts are drawn anew.

    BCa; where that is undefined (all resamples alike, or no leave-one-out spread) the percentile interval.

    Args:
        rows: one row a text, what `statistic` reads, without NaN.
        statistic: vectorised: rows [..., text, column] to numbers [...].
        confidence: coverage, in (0, 1).
        draws: resamples.
        seed: of the resamples; equal seeds give equal intervals.

    Returns: `NO_INTERVAL` for fewer than two texts, or if some resample has no value.
    """
    texts, columns = rows.shape
    if texts < 2:
        return NO_INTERVAL

    def of_indices(indices: NDArray[np.intp], axis: int) -> NDArray[np.float64]:  # scipy insists on an axis
        return statistic(rows[np.moveaxis(indices, axis, -1)])

    shared: dict[str, Any] = {
        "data": (np.arange(texts),),
        "statistic": of_indices,
        "vectorized": True,
        "axis": -1,
        "confidence_level": confidence,
        "batch": max(1, _LARGEST_GATHER // (texts * columns)),
    }
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # degenerate data is not news: it is what the percentile interval is for
        result = bootstrap(**shared, n_resamples=draws, method="BCa", rng=np.random.default_rng(seed))
        if not np.isfinite(result.confidence_interval).all():
            result = bootstrap(**shared, n_resamples=0, method="percentile", bootstrap_result=result)
    low, high = result.confidence_interval
    return Interval(float(low), float(high))
