"""Distinct-n: how many different n-grams an arm uses in all its texts together.

    distinct-n = different n-grams of all texts / n-grams of all texts      n = 1 … 4, in (0, 1], higher is more varied

over whitespace-separated words. Unlike rep-n, an n-gram of two texts is the same one. The ratio falls with the amount
of text whatever is written (Heaps' law), so it compares at equal amounts only: the note of every value names its words.
There is no interval: a resample holds texts twice, which distinct-n takes for repetition. Texts of fewer than n words
add nothing and count as missing; without any n-gram the value is NaN.

Li et al. (2016), "A Diversity-Promoting Objective Function for Neural Conversation Models".
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from cdeval.metrics.evaluating import offer

ORDERS = (1, 2, 3, 4)


class Distinct(NamedTuple):
    """One order's count."""

    value: float
    missing: int  # texts too short for one


def distinct(texts: Sequence[str], order: int) -> Distinct:
    """The share of different n-grams.

    >>> distinct(["a b", "a c"], order=1)
    Distinct(value=0.75, missing=0)
    """
    seen: set[tuple[str, ...]] = set()
    total = missing = 0
    for text in texts:
        words = text.split()
        ngrams = list(zip(*(words[start:] for start in range(order)), strict=False))
        seen.update(ngrams)
        total += len(ngrams)
        missing += not ngrams
    return Distinct(len(seen) / total if total else math.nan, missing)


def _compute(predictions: Sequence[str]) -> dict[str, float]:
    return {f"distinct_{order}": distinct(predictions, order).value for order in ORDERS}


Metric = offer(__name__, __doc__, _compute)
