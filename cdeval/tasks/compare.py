"""Arms on the same items: values with intervals, and paired differences.

Accuracies, whose items are right or wrong, are tested by McNemar's test in its exact form: of the items that only one
of the two arms has right, as many should be the one's as the other's (McNemar 1947, "Note on the sampling error of the
difference between correlated proportions or percentages", Psychometrika 12). Everything else is tested by the paired
bootstrap of `cdeval.metrics.compare`, which also makes all intervals. P-values are corrected for all of them (Holm).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import binomtest

from cdeval.metrics.compare import ArmRows, Settings, compare_arms, pair_rows, with_holm
from cdeval.metrics.rows import ratio_rows
from cdeval.metrics.stats import ratio_of_sums
from cdeval.records import Comparison, Estimate

Item = float | tuple[float, float]  # of one item: a number, or a sum and what it is divided by
Items = Mapping[str, Item]  # by the item's id
MCNEMAR = "McNemar's exact test"


class ItemScores(NamedTuple):
    """One number of a task, item by item, in every arm."""

    task: str
    metric: str
    arms: Mapping[str, Items]  # by the arm's label

    @property
    def name(self) -> str:
        """The number's name in tables."""
        return f"{self.task}: {self.metric}"

    @property
    def is_binary(self) -> bool:
        """Whether every item is right or wrong."""
        values = {value for items in self.arms.values() for value in items.values()}
        return values <= {0, 1}


def estimate(items: Items, settings: Settings) -> Estimate:
    """The mean over items, or the ratio of sums, with its interval."""
    return ratio_rows(_rows(items).values, list(items), "mean over items").estimate(settings)


def compared(measured: Sequence[ItemScores], against: str, settings: Settings) -> list[Comparison]:
    """Compare every arm with one of them by every number, on the items that both have."""
    found: list[Comparison] = []
    for one in measured:
        rows = {label: _rows(items) for label, items in one.arms.items()}
        of_arms = compare_arms(rows, ratio_of_sums, one.name, against, settings)
        if one.is_binary:
            of_arms = [_by_mcnemar(each, rows[each.arm], rows[against]) for each in of_arms]
        found += of_arms
    return with_holm(found)


def mcnemar(arm: Sequence[float], against: Sequence[float]) -> float:
    """The two-sided p-value of equal accuracies, exact; 1 where no item tells the two apart.

    >>> mcnemar([1, 1, 1, 1, 0], [0, 0, 0, 0, 0])
    0.125
    """
    won = sum(ours > theirs for ours, theirs in zip(arm, against, strict=True))
    lost = sum(ours < theirs for ours, theirs in zip(arm, against, strict=True))
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def _by_mcnemar(found: Comparison, arm: ArmRows, against: ArmRows) -> Comparison:
    """The comparison with the p-value of McNemar's test, which needs no least number of items."""
    pairs = pair_rows(arm, against)
    if not len(pairs.arm):
        return found
    note = "; ".join(filter(None, (MCNEMAR, found.difference.note)))
    p = mcnemar(pairs.arm[:, 0].tolist(), pairs.against[:, 0].tolist())
    return replace(found, p=p, difference=replace(found.difference, note=note))


def _rows(items: Items) -> ArmRows:
    return ArmRows(tuple(items), _columns(list(items.values())))


def _columns(values: Sequence[Item]) -> Float[np.ndarray, "item 2"]:
    pairs = [value if isinstance(value, tuple) else (value, math.nan if math.isnan(value) else 1.0) for value in values]
    return np.array(pairs, dtype=np.float64).reshape(len(pairs), 2)
