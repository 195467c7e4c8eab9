r"""The best of n settings, for n from 1 to all N that were tried: pure functions.

A method looks the better the more settings of it were tried, so methods compare at equal numbers (Dodge et al. 2019,
"Show Your Work", section 3). The value at n is the mean over all ways to have tried n of the N settings, by the
criterion of the texts that there are,

    E[best of n] = sum over i of v(i) · C(i − 1, n − 1) / C(N, n)        v(1) <= ... <= v(N)

and its interval holds the middle share of draws, each of which draws the prompts anew and puts the settings in another
order. A setting that the criterion gives no value (too little coherence, say) is worse than all others; where no
setting of a draw has a value, the draw has no best, and the share of ways that have one is told beside the value. Both
are of the texts by which was chosen: the best of many is too good by chance, and only other texts tell by how much.
"""

from math import comb, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cdeval.metrics.stats import FEWEST

Numbers = NDArray[np.float64]


class BestOf(NamedTuple):
    """The best of n settings."""

    n: int
    value: float  # mean over the ways to have tried n settings; NaN: no setting has a value
    low: float  # ends of the interval; NaN: none
    high: float
    valued: float  # share of the ways in which a setting has a value


def best_of_each(values: Numbers, draws: Numbers, confidence: float, prompts: int, seed: int) -> list[BestOf]:
    """The curve.

    Args:
        values: the criterion of each setting, by all texts [setting]; NaN: none.
        draws: the same in resamples of the prompts [draw, setting].
        confidence: of the interval.
        prompts: that were drawn from; of fewer than `FEWEST` there is no interval.
        seed: of the orders of the settings.
    """
    count = len(values)
    rng = np.random.default_rng(seed)
    orders = np.argsort(rng.random(draws.shape), axis=1)
    running = np.fmax.accumulate(np.take_along_axis(draws, orders, axis=1), axis=1)
    found = []
    for n in range(1, count + 1):
        value, valued = _expected(values, n)
        ends = running[:, n - 1]
        ends = ends[~np.isnan(ends)]
        low = high = nan
        if prompts >= FEWEST and len(ends):
            low, high = (float(end) for end in np.quantile(ends, [(1 - confidence) / 2, (1 + confidence) / 2]))
        found.append(BestOf(n, value, low, high, valued))
    return found


def _expected(values: Numbers, n: int) -> tuple[float, float]:
    """The mean of the best of n settings over all ways that have one with a value, and the share of these ways."""
    known = np.sort(values[~np.isnan(values)])
    count, without = len(values), len(values) - len(known)
    ways = [comb(without + place, n - 1) for place in range(len(known))]  # with this one as the best
    total = sum(ways)
    if not total:
        return nan, 0.0
    mean = sum(way / total * float(value) for way, value in zip(ways, known, strict=True))
    return mean, total / comb(count, n)
