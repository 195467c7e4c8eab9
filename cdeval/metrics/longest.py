"""Longest repeated span: the longest thing that a text says twice, word for word.

    longest repeat = number of words of the longest span that begins at two positions or more; mean over the texts

over whitespace-separated words; 0 or more, lower is better; the human texts of Su & Xu's (2022) book prompts, 149 words
long, have 2.7. Occurrences may overlap: n times the same word have n − 1, so that a loop shows at its full length. A
text without words has no value (NaN) and is counted; one word has 0. Longer texts have longer repeats: compare equal
lengths.

Found by bisection, as every part of a repeated span repeats, too. Our own diagnostic.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from cdeval.metrics.evaluating import offer
from cdeval.metrics.forms import decimals
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Place


def longest_repeat(words: Sequence[str]) -> int:
    """The number of words of the longest span that occurs twice or more.

    >>> longest_repeat("to be or not to be".split())
    2
    """
    known: dict[str, int] = {}
    text = "".join(chr(known.setdefault(word, len(known))) for word in words)  # a sign a word: slices are quick
    above = 1
    while _repeats(text, above):
        above *= 2
    first = bisect_left(range(above), True, lo=above // 2, key=lambda length: not _repeats(text, length))
    return max(0, first - 1)


def _repeats(text: str, length: int) -> bool:
    """Whether some span of this length occurs twice; if none does, no longer one does either."""
    seen: set[str] = set()
    for at in range(len(text) - length + 1):
        span = text[at : at + length]
        if span in seen:
            return True
        seen.add(span)
    return False


@metric(
    "longest_repeat",
    unit="words",
    header="longest\nrepeat",
    better="lower",
    digits=2,
    ends=decimals(1),
    bounds=(0, math.inf),
    place=Place.diagnostic,
    order=43,
    note="words of the longest span that occurs twice, mean",
    lacking="no text has a word",
)
def longest_of(text: str) -> float:
    """The longest repeat of a text [words]; NaN for a text without words."""
    words = text.split()
    return longest_repeat(words) if words else math.nan


def _compute(predictions: Sequence[str]) -> dict[str, float]:
    values = np.array([longest_of(text) for text in predictions])
    present = values[~np.isnan(values)]
    mean = float(present.mean()) if len(present) else math.nan
    return {"longest_repeat": mean, "missing": float(len(values) - len(present))}


Module = offer(__name__, __doc__, _compute)
