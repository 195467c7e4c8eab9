"""Repetition onset: how soon a text says something again.

    onset = number of words before the first 4-gram that stood in the text before; mean over the texts that repeat

over whitespace-separated words; 1 or more, at most the text's words − 4; later is better. "no no no no no" has 1: its
second 4-gram is its first. Occurrences may overlap. A text that never repeats a 4-gram has no onset (NaN) and is
counted: the mean is over the others only, so read it beside their number. A text that is cut off earlier has less time
to repeat: compare equal lengths. The 4-gram is rep-4's (`cdeval.metrics.diversity`); the onset is our own diagnostic
for the loops that Holtzman et al. (2020), "The Curious Case of Neural Text Degeneration", describe.
"""

import math
from collections.abc import Sequence

import numpy as np

from cdeval.metrics.evaluating import offer
from cdeval.metrics.forms import whole
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Place

ORDER = 4


@metric(
    "repetition_onset",
    unit="words",
    header="repeats\nafter",
    better="higher",
    digits=1,
    ends=whole,
    bounds=(0, math.inf),
    place=Place.diagnostic,
    order=42,
    note="words before the first repeated 4-gram, mean over the texts that have one",
    lacking="no text has a 4-gram twice",
)
def onset(text: str, order: int = ORDER) -> float:
    """Words before the first n-gram that occurs for the second time; NaN where none does.

    >>> onset("a b c d e a b c d e")
    5.0
    """
    words = text.split()
    seen: set[tuple[str, ...]] = set()
    for start in range(len(words) - order + 1):
        phrase = tuple(words[start : start + order])
        if phrase in seen:
            return float(start)
        seen.add(phrase)
    return math.nan


def _compute(predictions: Sequence[str]) -> dict[str, float]:
    values = np.array([onset(text) for text in predictions])
    repeating = values[~np.isnan(values)]
    mean = float(repeating.mean()) if len(repeating) else math.nan
    return {"repetition_onset": mean, "never": float(len(values) - len(repeating))}


Module = offer(__name__, __doc__, _compute)
