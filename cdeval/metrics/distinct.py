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
from dataclasses import dataclass
from typing import NamedTuple

from cdeval.metrics.evaluating import offer
from cdeval.metrics.forms import fraction
from cdeval.metrics.means import Found, Means
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Metric, Place
from cdeval.metrics.rows import EQUAL_AMOUNTS, NO_NGRAM
from cdeval.records import Estimate, Generation

ORDERS = (1, 2, 3, 4)


class Distinct(NamedTuple):
    """One order's count."""

    value: float
    missing: int  # texts too short for one


def word_ngrams(text: str, order: int) -> list[tuple[str, ...]]:
    """List the n-grams of a text's words, separated by whitespace, in their order; none of a text that is too short.

    >>> word_ngrams("a b c", 2)
    [('a', 'b'), ('b', 'c')]
    """
    words = text.split()
    return list(zip(*(words[start:] for start in range(order)), strict=False))


def distinct(texts: Sequence[str], order: int) -> Distinct:
    """The share of different n-grams.

    >>> distinct(["a b", "a c"], order=1)
    Distinct(value=0.75, missing=0)
    """
    seen: set[tuple[str, ...]] = set()
    total = missing = 0
    for text in texts:
        ngrams = word_ngrams(text, order)
        seen.update(ngrams)
        total += len(ngrams)
        missing += not ngrams
    return Distinct(len(seen) / total if total else math.nan, missing)


@dataclass(kw_only=True, eq=False)
class _DistinctN(Metric):
    """The share of different n-grams of an arm."""

    ngrams: int

    def of_arm(self, texts: Sequence[Generation], means: Means) -> Found:
        """Count n-grams; there is no interval."""
        found = distinct([text.continuation for text in texts], self.ngrams)
        # The same words for every order, so that the four values of an arm share one line.
        words = sum(len(text.continuation.split()) for text in texts)
        note = f"over the {words} words of all texts; {EQUAL_AMOUNTS}"
        if math.isnan(found.value):
            note = f"{NO_NGRAM.format(order=self.ngrams)}; {note}"
        return Estimate(found.value, math.nan, math.nan, len(texts) - found.missing, found.missing, note)


for _order in ORDERS:
    metric(
        f"distinct_{_order}",
        label=f"distinct-{_order}",
        better="higher",
        form=fraction(3),
        bounds=(0, 1),
        place=Place.extra,
        order=50,
        ngrams=_order,
    )(_DistinctN)


def _compute(predictions: Sequence[str]) -> dict[str, float]:
    return {f"distinct_{order}": distinct(predictions, order).value for order in ORDERS}


Module = offer(__name__, __doc__, _compute)
