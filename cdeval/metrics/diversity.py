"""Repetition and diversity: how much of a text is said more than once.

    rep-n     = 1 − Σ_texts unique n-grams of the text / Σ_texts n-grams of the text    in [0, 1], lower is more varied
    diversity = (1 − rep-2) · (1 − rep-3) · (1 − rep-4)                                 in [0, 1], higher is more varied

over whitespace-separated words of the continuations. Unique *within* a text, summed over texts before dividing: long
texts weigh more. Longer texts also repeat more, so compare equal lengths: human ones reach 0.92 to 0.95 at 256 tokens.

A text of fewer than n words has no n-gram: it adds nothing to either sum and counts as missing; without any n-gram the
value is NaN.

The definition of Su et al. (2022), "A Contrastive Framework for Neural Text Generation". Its published code (simctg,
which Li et al. 2022 use too) differs in two ways, together worth about 0.0003: it never counts the last n-gram of a
text, and it rounds rep-n to 0.01 percent before multiplying.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Num

ORDERS = (2, 3, 4)


def ngram_counts(texts: Sequence[str]) -> Int[np.ndarray, "text 6"]:
    """Unique 2-, 3-, 4-grams, then all 2-, 3-, 4-grams, of each text.

    >>> ngram_counts(["a b a b"]).tolist()
    [[2, 2, 1, 3, 2, 1]]
    """
    counts = np.zeros((len(texts), 2 * len(ORDERS)), dtype=np.int64)
    for row, text in zip(counts, texts, strict=True):
        words = text.split()
        for column, order in enumerate(ORDERS):
            ngrams = list(zip(*(words[start:] for start in range(order)), strict=False))
            row[column], row[column + len(ORDERS)] = len(set(ngrams)), len(ngrams)
    return counts


def repetition(counts: Num[np.ndarray, "... text 6"]) -> Float[np.ndarray, "... 3"]:
    """rep-2, rep-3, rep-4 of the texts together; NaN where no text has an n-gram."""
    sums = counts.sum(axis=-2)
    with np.errstate(invalid="ignore"):
        return np.asarray(1 - sums[..., : len(ORDERS)] / sums[..., len(ORDERS) :])


def diversity(counts: Num[np.ndarray, "... text 6"]) -> Float[np.ndarray, "..."]:
    """The product of the three (1 − rep-n); NaN where one of them is."""
    return np.asarray(np.prod(1 - repetition(counts), axis=-1))


def without_ngrams(counts: Int[np.ndarray, "text 6"], order: int) -> int:
    """How many texts are shorter than `order` words."""
    return int((counts[:, len(ORDERS) + ORDERS.index(order)] == 0).sum())
