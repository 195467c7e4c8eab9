"""Self-repetition: how often the texts of one arm say the same four words as others of its texts.

    self-repetition = mean over texts of ln( 1 + Σ_g N_g )     at least 0, lower is more varied

over the different 4-grams g of whitespace-separated words of the text, with N_g the number of other texts that hold g.
It rises with the length and the number of texts, so it compares at equal amounts only; there is no interval, since a
resample holds texts twice.

Salkar et al. (2022), "Self-Repetition in Abstractive Neural Summarizers"; Shaib et al. (2024) recommend it, and the
package `diversity` computes it. There a text of fewer than four words counts as one that repeats nothing; here it has
no value and is counted as missing. The two are the same number where no text is that short.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cdeval.metrics.distinct import word_ngrams
from cdeval.metrics.evaluating import offer
from cdeval.metrics.forms import decimals
from cdeval.metrics.means import Found, Means
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Metric, Place
from cdeval.metrics.rows import EQUAL_AMOUNTS, NO_NGRAM
from cdeval.records import Estimate, Generation

ORDER = 4


def self_repetition(texts: Sequence[str], order: int = ORDER) -> NDArray[np.float64]:
    """The logarithm of one more than the 4-grams of each text that others have, too; NaN for a text without any.

    >>> self_repetition(["a b c d e", "x a b c d", "too short"]).round(4).tolist()
    [0.6931, 0.6931, nan]
    """
    held = [set(word_ngrams(text, order)) for text in texts]
    texts_with = Counter(phrase for phrases in held for phrase in phrases)
    return np.array(
        [math.log(1 + sum(texts_with[phrase] - 1 for phrase in phrases)) if phrases else math.nan for phrases in held],
        dtype=np.float64,
    )


@metric(
    "self_repetition",
    header="said by\nothers",
    better="lower",
    digits=2,
    form=decimals(2),
    bounds=(0, math.inf),
    place=Place.extra,
    order=63,
)
class _SelfRepetition(Metric):
    """Self-repetition of an arm."""

    def of_arm(self, texts: Sequence[Generation], means: Means) -> Found:
        """Look for each text's 4-grams in the others; there is no interval."""
        values = self_repetition([text.continuation for text in texts])
        present = values[~np.isnan(values)]
        note = f"4-grams of {len(present)} texts that others of them hold; {EQUAL_AMOUNTS}"
        if not len(present):
            note = NO_NGRAM.format(order=ORDER)
        value = float(present.mean()) if len(present) else math.nan
        return Estimate(value, math.nan, math.nan, len(present), len(texts) - len(present), note)


def _compute(predictions: Sequence[str]) -> dict[str, float]:
    values = self_repetition(predictions)
    present = values[~np.isnan(values)]
    mean = float(present.mean()) if len(present) else math.nan
    return {"self_repetition": mean, "missing": float(len(values) - len(present))}


Module = offer(__name__, __doc__, _compute)
