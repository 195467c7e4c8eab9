"""The spread of timed passes: a mean over passes of each pass's own value, with its interval.

Tokens of one pass share its moment of the machine, so passes are the units, by Student's t: with three passes the
interval is wide, and rightly so. A comparison of two arms pairs the passes of one turn, which ran one after the other,
and takes their ratio, on the scale of logarithms.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

QUANTILES = (50, 90, 99)


class Spread(NamedTuple):
    """A mean and the ends of its interval; NaN where there is none."""

    value: float
    low: float
    high: float

    def named(self, name: str) -> dict[str, float]:
        """Write it as it stands in `costs.json`."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


NOTHING = Spread(math.nan, math.nan, math.nan)


def over_passes(values: Sequence[float], confidence: float) -> Spread:
    """Average one number a pass: no passes give nothing, a single one gives no interval."""
    if not values:
        return NOTHING
    mean = float(np.mean(values))
    if len(values) == 1:
        return Spread(mean, math.nan, math.nan)
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return Spread(mean, mean - half, mean + half)


def ratio_over_turns(arm: Sequence[float], control: Sequence[float], confidence: float) -> Spread:
    """Compute how much more the arm takes than its control in the same turns, as a ratio: 0.05 is 5 % more.

    Raises: ValueError: they were not timed in the same turns.
    """
    found = over_passes([math.log(mine / other) for mine, other in zip(arm, control, strict=True)], confidence)
    return Spread(*map(math.expm1, found))


def quantiles(passes: Sequence[Sequence[float]], confidence: float) -> dict[int, Spread]:
    """The median, the 90th and the 99th percentile of a pass's tokens, over passes; linear between tokens."""
    return {
        percent: over_passes([float(np.percentile(tokens, percent)) for tokens in passes if tokens], confidence)
        for percent in QUANTILES
    }
