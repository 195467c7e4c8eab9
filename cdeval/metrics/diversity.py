"""Repetition and diversity: how much of a text is said more than once.

    rep-n     = 1 − Σ_texts unique n-grams of the text / Σ_texts n-grams of the text    in [0, 1], lower is more varied
    diversity = (1 − rep-2) · (1 − rep-3) · (1 − rep-4)                                 in [0, 1], higher is more varied

over whitespace-separated words of the continuations. Unique *within* a text, summed over texts before dividing: long
texts weigh more. Longer texts also repeat more, so compare equal lengths: human ones reach 0.92 to 0.95 at 256 tokens.

A text of fewer than n words has no n-gram: it adds nothing to either sum and counts as missing; without any n-gram the
value is NaN.

The definition of Su et al. (2022), "A Contrastive Framework for Neural Text Generation". Its published code (simctg,
which Li et al. 2022 use too) differs in two ways, together worth about 0.0003: it never counts the last n-gram of a
text, and it rounds rep-n to 0.01 percent before multiplying. `protocol.diversity=published` does the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int, Num

from cdeval.config.enums import DiversityProtocol
from cdeval.config.schema import ProtocolConfig
from cdeval.metrics.evaluating import choice_of, offer
from cdeval.metrics.forms import fraction
from cdeval.metrics.means import Basis, Found, Means
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Metric, Place
from cdeval.metrics.rows import NO_NGRAM, Rows
from cdeval.metrics.stats import Statistic
from cdeval.records import Generation

ORDERS = (2, 3, 4)
_NOTES = {
    DiversityProtocol.corrected: "over whitespace-separated words, every n-gram (protocol.diversity=corrected)",
    DiversityProtocol.published: "over whitespace-separated words, each text's last n-gram dropped and rep-n rounded "
    "to 0.01 % before the product, as in simctg's code (protocol.diversity=published)",
}
_CORRECTED = DiversityProtocol.corrected


def ngram_counts(texts: Sequence[str], protocol: DiversityProtocol = _CORRECTED) -> Int[np.ndarray, "text 6"]:
    """Unique 2-, 3-, 4-grams, then all 2-, 3-, 4-grams, of each text.

    >>> ngram_counts(["a b a b"]).tolist()
    [[2, 2, 1, 3, 2, 1]]
    """
    dropped = 1 if protocol is DiversityProtocol.published else 0
    counts = np.zeros((len(texts), 2 * len(ORDERS)), dtype=np.int64)
    for row, text in zip(counts, texts, strict=True):
        words = text.split()
        for column, order in enumerate(ORDERS):
            ngrams = list(zip(*(words[start : len(words) - dropped] for start in range(order)), strict=False))
            row[column], row[column + len(ORDERS)] = len(set(ngrams)), len(ngrams)
    return counts


def repetition(
    counts: Num[np.ndarray, "... text 6"], protocol: DiversityProtocol = _CORRECTED
) -> Float[np.ndarray, "... 3"]:
    """rep-2, rep-3, rep-4 of the texts together; NaN where no text has an n-gram."""
    sums = counts.sum(axis=-2)
    with np.errstate(invalid="ignore"):
        rates = np.asarray(1 - sums[..., : len(ORDERS)] / sums[..., len(ORDERS) :])
    return _rounded(rates) if protocol is DiversityProtocol.published else rates


def diversity(
    counts: Num[np.ndarray, "... text 6"], protocol: DiversityProtocol = _CORRECTED
) -> Float[np.ndarray, "..."]:
    """The product of the three (1 − rep-n); NaN where one of them is."""
    return np.asarray(np.prod(1 - repetition(counts, protocol), axis=-1))


def without_ngrams(counts: Int[np.ndarray, "text 6"], order: int) -> int:
    """Count the texts that have no n-gram of this order."""
    return int((counts[:, len(ORDERS) + ORDERS.index(order)] == 0).sum())


# numpy rounds by scaling, Python to the nearest of all decimals: simctg calls Python's.
_percent_hundredths = np.vectorize(lambda rate: round(100 * rate, 2) / 100, otypes=[np.float64])


def _rounded(rates: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return np.asarray(_percent_hundredths(rates))


@dataclass(kw_only=True, eq=False)
class _Repetition(Metric):
    """Diversity, or rep-n: sums of n-gram counts."""

    ngrams: int = 0  # n; 0: the product of all

    def basis(self, means: Means) -> Basis:
        """The definition by which n-grams are counted."""
        return {"protocol": means.protocol.diversity.name}

    def of_arm(self, texts: Sequence[Generation], means: Means) -> Found:
        """Count n-grams, once for all of these metrics."""
        protocol, longest = means.protocol.diversity, self.ngrams or max(ORDERS)
        words = [text.continuation for text in texts]
        counts = means.once((ngram_counts, id(texts)), lambda: ngram_counts(words, protocol))
        missing, lacking = without_ngrams(counts, longest), NO_NGRAM.format(order=longest)
        prompts = tuple(text.id for text in texts)
        return Rows(counts, prompts, self.statistic(means.protocol), missing, _NOTES[protocol], lacking)

    def statistic(self, protocol: ProtocolConfig) -> Statistic:
        """The definition over sums of counts."""
        if self.ngrams:
            return lambda counts: repetition(counts, protocol.diversity)[..., ORDERS.index(self.ngrams)]
        return partial(diversity, protocol=protocol.diversity)


metric(
    "diversity",
    better="higher",
    more="more diverse",
    less="less diverse",
    form=fraction(3),
    fine=fraction(4),
    bounds=(0, 1),
    order=10,
)(_Repetition)
for _order in ORDERS:
    metric(
        f"rep_{_order}",
        label=f"rep-{_order}",
        better="lower",
        digits=4,
        form=fraction(4),
        ends=fraction(3),
        bounds=(0, 1),
        place=Place.diagnostic,
        order=11,
        ngrams=_order,
    )(_Repetition)


def _compute(predictions: Sequence[str], protocol: str = "corrected") -> dict[str, float]:
    chosen = choice_of(DiversityProtocol, "protocol", protocol)
    counts = ngram_counts(predictions, chosen)
    rates = repetition(counts, chosen) if len(predictions) else np.full(len(ORDERS), math.nan)
    scores = {f"rep_{order}": float(rate) for order, rate in zip(ORDERS, rates, strict=True)}
    return {"diversity": float(diversity(counts, chosen)), **scores}


Module = offer(__name__, __doc__, _compute)
