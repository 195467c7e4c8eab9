"""Distinct-n at unequal amounts: EAD as published, and the n-grams that equally many draws would find.

    EAD            = N / ( V · (1 − ((V − 1) / V)^C) )         above 0, higher is more varied
    distinct-n@500 = E[ different n-grams among 500 of all, drawn without replacement ] / 500      in (0, 1], higher

with N different words of C words in all texts of an arm, separated by whitespace. Both set out to do what distinct-n
(`cdeval.metrics.distinct`) cannot: to compare arms that wrote unequal amounts.

EAD divides by the different words that C draws from V equally likely ones would show (Liu et al. 2022, "Rethinking and
Refining the Distinct Metric"). No language has equally likely words, so it still falls with the amount. Its V is the
size of the largest vocabulary of the models that are compared, by the authors' rule; here it is 50 257, GPT-2's, for
everybody, so that values compare. Of n-grams with n > 1 it is distinct-n to many digits, so only words have it.

The second is Hurlbert's rarefaction (1971, "The Nonconcept of Species Diversity"), exact and without any assumption on
how likely n-grams are: an n-gram that occurs c times of M is among m draws with probability 1 − C(M − c, m) / C(M, m).
Its expectation is the same whatever the amount. An arm with fewer than 500 n-grams has no value.

There is no interval: a resample holds texts twice.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from cdeval.metrics.distinct import word_ngrams
from cdeval.metrics.evaluating import offer
from cdeval.metrics.forms import fraction
from cdeval.metrics.means import Found, Means
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Metric, Place
from cdeval.metrics.rows import NO_NGRAM
from cdeval.records import Estimate, Generation

VOCABULARY = 50_257
DRAWS = 500
_TWICE = "no interval, as a resample holds texts twice"


def counted(texts: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """How often each n-gram occurs in the texts."""
    found: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        found.update(word_ngrams(text, order))
    return found


def expectation_adjusted(texts: Sequence[str], vocabulary: int = VOCABULARY) -> float:
    """EAD of words; NaN without one.

    >>> round(expectation_adjusted(["a b", "a c"]), 4)
    0.75
    """
    words = counted(texts, 1)
    if not words:
        return math.nan
    expected = -vocabulary * math.expm1(words.total() * math.log1p(-1 / vocabulary))
    return len(words) / expected


def rarefied(texts: Sequence[str], order: int, draws: int = DRAWS) -> float:
    """The share of different n-grams among so many drawn ones, expected; NaN where there are fewer.

    >>> round(rarefied(["a b", "a c"], 1, draws=2), 4)
    0.9167
    """
    counts = np.array(list(counted(texts, order).values()), dtype=np.float64)
    total = counts.sum()
    if total < draws or draws < 1:
        return math.nan
    # log C(total − count, draws) − log C(total, draws); the n-gram cannot be missed where too few others are left.
    others = total - counts
    enough = others >= draws
    log_missed = np.full(len(counts), -np.inf)
    log_missed[enough] = (
        gammaln(others[enough] + 1)
        - gammaln(others[enough] - draws + 1)
        - gammaln(total + 1)
        + gammaln(total - draws + 1)
    )
    return float((1 - np.exp(log_missed)).sum() / draws)


@dataclass(kw_only=True, eq=False)
class _AdjustedDistinct(Metric):
    """EAD, or distinct-n of equally many draws, of an arm."""

    ngrams: int
    published: bool = False

    def of_arm(self, texts: Sequence[Generation], means: Means) -> Found:
        """Count n-grams; there is no interval."""
        said = [text.continuation for text in texts]
        missing = sum(len(text.split()) < self.ngrams for text in said)
        total = counted(said, self.ngrams).total()
        if self.published:
            value = expectation_adjusted(said)
            note = f"of {total} words, against {VOCABULARY} equally likely ones; {_TWICE}"
        else:
            value = rarefied(said, self.ngrams)
            note = f"expected of {DRAWS} of {total} n-grams; {_TWICE}"
        if not total:
            note = NO_NGRAM.format(order=self.ngrams)
        elif math.isnan(value):
            note = f"there are {total} {self.ngrams}-grams, fewer than the {DRAWS} that are drawn"
        return Estimate(value, math.nan, math.nan, len(texts) - missing, missing, note)


metric(
    "ead",
    label="EAD",
    better="higher",
    form=fraction(3),
    bounds=(0, math.inf),
    place=Place.extra,
    order=64,
    ngrams=1,
    published=True,
)(_AdjustedDistinct)
for _order in (1, 2):
    metric(
        f"rarefied_{_order}",
        label=f"distinct-{_order}@{DRAWS}",
        header=f"distinct-{_order}\n@{DRAWS}",
        better="higher",
        form=fraction(3),
        bounds=(0, 1),
        place=Place.extra,
        order=65,
        ngrams=_order,
    )(_AdjustedDistinct)


def _compute(predictions: Sequence[str]) -> dict[str, float]:
    drawn = {f"rarefied_{order}": rarefied(predictions, order) for order in (1, 2)}
    return {"ead": expectation_adjusted(predictions), **drawn}


Module = offer(__name__, __doc__, _compute)
