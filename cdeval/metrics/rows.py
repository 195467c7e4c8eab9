"""The rows of a metric, one a text, and how they become a number with its interval.

Documents are the units of every interval: several samples of one prompt are resampled together, and so are several
prompts that were cut from one document. A row holds sums (of n-grams, of nats, of values and ones), so the rows of a
document are one row, their sum, and the value stays the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Num

from cdeval.metrics.compare import ArmRows, Settings
from cdeval.metrics.stats import (
    FEW,
    FEWEST,
    IN_GROUPS,
    MANY,
    Statistic,
    by_document,
    interval,
    ratio_of_sums,
    with_value,
)
from cdeval.records import Estimate

NO_NGRAM = "no text has {order} words with spaces between them, as languages written without spaces never have"
EQUAL_AMOUNTS = "compares at equal amounts only; no interval, as a resample holds texts twice"


@dataclass(frozen=True, slots=True)
class Rows:
    """One metric of one arm, text by text."""

    values: Num[np.ndarray, "text column"]  # additive; NaN where the text has no value
    prompts: tuple[str, ...]  # id of each text's prompt; samples of one prompt share it
    statistic: Statistic  # of the rows, or of their sums by prompt
    missing: int  # texts without a value; some may be rows of zeros
    note: str = ""
    lacking: str = ""  # why a text has no value, as a sentence about all texts

    def estimate(self, settings: Settings) -> Estimate:
        """The statistic of the texts that have a value, and its interval over prompts."""
        has_value = ~np.isnan(self.values).any(axis=1)
        n = len(self.values) - self.missing
        if n == 0:
            note = "; ".join(filter(None, (self.lacking or "no text has a value", self.note)))
            return Estimate(math.nan, math.nan, math.nan, 0, self.missing, note)
        prompts = [prompt for prompt, has in zip(self.prompts, has_value, strict=True) if has]
        units = by_document(self.values[has_value], prompts)
        ends = interval(units, self.statistic, *settings)
        said = FEW if with_value(units) < FEWEST else IN_GROUPS if len(units) > MANY else ""
        note = "; ".join(filter(None, (self.note, said)))
        return Estimate(float(self.statistic(units)), ends.low, ends.high, n, self.missing, note)

    def of_arm(self) -> ArmRows:
        """Return the rows as comparisons take them."""
        return ArmRows(self.prompts, self.values.astype(np.float64))


def mean_rows(values: Num[np.ndarray, "text 1"], prompts: Sequence[str], note: str, lacking: str = "") -> Rows:
    """The mean over texts of one number a text, NaN where it has none: a sum over a count."""
    ones = np.where(np.isnan(values), math.nan, 1.0)
    return ratio_rows(np.hstack([values, ones]), prompts, note, lacking)


def ratio_rows(values: Num[np.ndarray, "text 2"], prompts: Sequence[str], note: str, lacking: str = "") -> Rows:
    """Sum over sum of two columns, NaN where a text has no value."""
    return Rows(values, tuple(prompts), ratio_of_sums, int(np.isnan(values).any(axis=1).sum()), note, lacking)
