"""The dissimilarity of two texts, by their tokens: pure functions.

    risk = 1 - F,   F = 2 LCS(a, b) / (|a| + |b|)          in [0, 1]; 0: equal, 1: no token in common

ROUGE-L's F-measure at beta = 1 (Lin 2004, section 3), with which CALM (Schuster et al. 2022, section 4) compares an
early text with the one by all blocks; here over the expert's tokens instead of stemmed words. LCS is the length of the
longest common subsequence. Two empty texts are equal.
"""

from collections.abc import Sequence


def dissimilarity(text: Sequence[int], other: Sequence[int]) -> float:
    """Measure how far two token sequences are from each other, in [0, 1].

    >>> dissimilarity([1, 2, 3, 4], [1, 9, 3, 4])
    0.25
    """
    together = len(text) + len(other)
    return 1 - 2 * common(text, other) / together if together else 0.0


def common(text: Sequence[int], other: Sequence[int]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(other) + 1)  # row[j]: of the tokens of `text` so far and the first j of `other`
    for token in text:
        diagonal = 0
        for place, rival in enumerate(other, start=1):
            above = row[place]
            row[place] = diagonal + 1 if token == rival else max(above, row[place - 1])
            diagonal = above
    return row[-1]
