"""Bootstrap intervals over texts.

A metric hands over one row a text, and a statistic that reads the rows through their sums, as ratios of sums do. Texts
are resampled, rows are not computed again: a draw is how often each text is in it, and all sums are one matrix product.
Prompts are the independent units: tokens of one text are not, nor are several prompts that were cut from one document
(`prompts.windows`), which are drawn together.

BCa: Efron (1987), "Better bootstrap confidence intervals", J. Amer. Statist. Assoc. 82, by `scipy.stats.bootstrap`. In
simulated arms of 50 texts it held the true diversity 96 times of 100 where at least 8 % of the texts degenerate, 84 to
88 times where 4 % do: one in eight such arms shows none, so that no interval made of its texts holds more than 88
(studentised ones, on any scale, held 85 to 89). `tests/metrics/test_coverage.py` repeats it.

Fewer than `FEWEST` prompts have no interval and no p-value. In the same simulations (10 to 25 % degenerate texts) the
intervals of 4 texts held the truth 65 times of 100 and those of 8 texts 87 times; of the intervals of a difference, 65
of 100 at 4 prompts and 37 of 100 at 10 prompts were wider than diversity itself can be (-1 to 1), at 20 prompts none.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int, Num
from numpy.typing import NDArray

from cdeval.records import document_of

# Rows [..., text, column] -> one number for each leading index; one row that is the sum of the others gives the same.
Statistic: TypeAlias = Callable[[NDArray[Any]], NDArray[np.float64]]

FEWEST = 20  # prompts with a value, below which nothing is said about the error
FEW = f"no interval: fewer than {FEWEST} prompts have a value"

MANY = 5000  # prompts; of more, groups of them are drawn
_GROUPS = 2000
IN_GROUPS = f"prompts drawn in {_GROUPS} groups, as there are more than {MANY}"

_LARGEST = 4_000_000  # numbers resampled at once: 32 MB of float64


class Interval(NamedTuple):
    """The ends of a confidence interval; NaN, NaN where there is none."""

    low: float
    high: float


NO_INTERVAL = Interval(math.nan, math.nan)


def ratio_of_sums(rows: Num[np.ndarray, "... text column"]) -> Float[np.ndarray, "..."]:
    """Sum of the first column over sum of the second, so that long texts weigh more; NaN where the second is 0."""
    sums = rows.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


def with_value(rows: Num[np.ndarray, "text column"]) -> int:
    """Count the rows that add anything to the sums: a text of one word has no n-gram, and its row is all zeros."""
    return int(rows.any(axis=-1).sum())


def by_document(values: Num[np.ndarray, "text column"], prompts: Sequence[str]) -> Num[np.ndarray, "document column"]:
    """The rows summed by the text that a prompt was cut from, in the order in which these texts first occur."""
    order = {document: index for index, document in enumerate(dict.fromkeys(map(document_of, prompts)))}
    if len(order) == len(prompts):
        return values
    sums = np.zeros((len(order), values.shape[1]), dtype=values.dtype)
    np.add.at(sums, [order[document_of(prompt)] for prompt in prompts], values)
    return sums


def units_of(prompts: int) -> Int[np.ndarray, " prompt"]:
    """Assign each prompt the unit that is drawn: one of its own for at most `MANY` prompts, else a random group's.

    A jackknife leaves out every unit once and a draw has as many as there are, so that their time grows with the square
    of their number. What is read through sums over prompts may be drawn in groups, always the same ones: the spread of
    sums over random groups is that over prompts, known to 1 / sqrt(2 groups) of itself, 1.6 %.
    """
    return np.arange(prompts) if prompts <= MANY else np.random.default_rng(0).permutation(prompts) % _GROUPS


def in_groups(rows: Num[np.ndarray, "text column"]) -> Num[np.ndarray, "unit column"]:
    """The rows of at most `MANY` prompts as they are; of more, the sums over the groups of `units_of`."""
    if len(rows) <= MANY:
        return rows
    sums = np.zeros((_GROUPS, rows.shape[1]), dtype=rows.dtype)
    np.add.at(sums, units_of(len(rows)), rows)
    return sums


def interval(
    rows: Num[np.ndarray, "text column"], statistic: Statistic, confidence: float, draws: int, seed: int
) -> Interval:
    """The bootstrap interval of `statistic(rows)` when texts are drawn anew.

    BCa; where that is undefined (all resamples alike, or no leave-one-out spread) the percentile interval.

    Args:
        rows: one row a text, what `statistic` reads, without NaN.
        statistic: rows [..., text, column] to numbers [...], through the sums over the texts.
        confidence: coverage, in (0, 1).
        draws: resamples.
        seed: of the resamples; equal seeds give equal intervals.

    Returns: `NO_INTERVAL` for fewer than `FEWEST` texts with a value, or if some resample has no value.
    """
    if with_value(rows) < FEWEST:
        return NO_INTERVAL
    rows = in_groups(rows.astype(np.float64))
    texts = len(rows)

    def of_indices(indices: NDArray[np.intp], axis: int) -> NDArray[np.float64]:  # scipy insists on an axis
        drawn = np.moveaxis(indices, axis, -1)
        lists = drawn.reshape(-1, drawn.shape[-1])
        places = lists + texts * np.arange(len(lists))[:, None]
        counts = np.bincount(places.ravel(), minlength=len(lists) * texts).reshape(-1, texts)
        return statistic((counts @ rows)[:, None]).reshape(drawn.shape[:-1])

    shared: dict[str, Any] = {
        "data": (np.arange(texts),),
        "statistic": of_indices,
        "vectorized": True,
        "axis": -1,
        "confidence_level": confidence,
        "batch": max(1, _LARGEST // texts),
    }
    # It takes a second to import, before which a command could not say a word.
    from scipy.stats import bootstrap  # noqa: PLC0415

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # degenerate data is not news: it is what the percentile interval is for
        result = bootstrap(**shared, n_resamples=draws, method="BCa", rng=np.random.default_rng(seed))
        if not np.isfinite(result.confidence_interval).all():
            result = bootstrap(**shared, n_resamples=0, method="percentile", bootstrap_result=result)
    low, high = result.confidence_interval
    return Interval(float(low), float(high))


def perplexity(rows: Float[np.ndarray, "... text 2"]) -> Float[np.ndarray, "..."]:
    """The perplexity of the texts together, from rows of `nll_rows` without missing ones; NaN for no text."""
    return np.asarray(np.exp(ratio_of_sums(rows)))
