"""Distinct-k: how many different texts are among the k samples of a prompt.

    distinct-k = mean over prompts of the classes of their texts / their texts     in (0, 1], higher is more varied

Texts are sorted into classes one after the other: one that is like the first text of a class belongs to it, in the
order of the classes, else it begins a new one. Alike are texts whose words' overlap (ROUGE-1's F: twice the common
words over all words, in lower case, letters and digits alone) is above 0.458. Rule and threshold are those of
NoveltyBench's check by words; its own figures are made by a classifier of 435M parameters, which agrees with people
better. Both are about answers to questions: continuations of a text share words without saying the same, so read it as
a lower bound on the different texts.

Divided by k, so that prompts with unequal numbers of samples add up; k times it is NoveltyBench's distinct_k. A prompt
with one sample has no value. Blank texts are a class of their own. Zhang et al. (2025), "NoveltyBench: Evaluating
Language Models for Humanlike Diversity", arXiv 2504.05228. Its published script writes down the number of the last
class, counted from 0, which is one class too few; the classes are counted here.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from cdeval.metrics.evaluating import offer
from cdeval.metrics.forms import fraction
from cdeval.metrics.means import Found, Means
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Metric, Place
from cdeval.metrics.rows import mean_rows
from cdeval.records import Generation

ALIKE = 0.458  # overlap above which two texts are of one class


def overlap(first: Counter[str], second: Counter[str]) -> float:
    """ROUGE-1's F of two counts of words; 1 for two without any word.

    >>> overlap(Counter("a b".split()), Counter("b c".split()))
    0.5
    """
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 1.0


def classes(texts: Sequence[str], alike: float = ALIKE) -> int:
    """Count the classes of texts that are not alike.

    >>> classes(["the cat sat", "The cat sat!", "a dog ran"])
    2
    """
    firsts: list[Counter[str]] = []
    for text in texts:
        words = Counter(re.findall(r"[^\W_]+", text.lower()))
        if all(overlap(first, words) <= alike for first in firsts):
            firsts.append(words)
    return len(firsts)


@metric(
    "distinct_samples",
    label="distinct-k",
    better="higher",
    form=fraction(3),
    bounds=(0, 1),
    place=Place.extra,
    order=67,
)
class _DistinctSamples(Metric):
    """Distinct-k of an arm whose prompts have several samples."""

    def of_arm(self, texts: Sequence[Generation], means: Means) -> Found:
        """Sort the samples of each prompt into classes; a row a prompt."""
        samples: dict[str, list[str]] = {}
        for text in texts:
            samples.setdefault(text.id, []).append(text.continuation)
        shares = [classes(said) / len(said) if len(said) > 1 else math.nan for said in samples.values()]
        numbers = sorted({len(said) for said in samples.values()})
        k = f"k = {numbers[0]}" if len(numbers) == 1 else f"k = {numbers[0]} to {numbers[-1]}"
        note = f"classes of unlike texts among {k} samples of a prompt, over k; alike above {ALIKE} of common words"
        return mean_rows(np.array(shares).reshape(-1, 1), list(samples), note, "no prompt has two samples")


def _compute(predictions: Sequence[str], prompts: Sequence[str]) -> dict[str, float]:
    samples: dict[str, list[str]] = {}
    for prompt, text in zip(prompts, predictions, strict=True):
        samples.setdefault(prompt, []).append(text)
    shares = [classes(said) / len(said) for said in samples.values() if len(said) > 1]
    return {"distinct_samples": sum(shares) / len(shares) if shares else math.nan}


Module = offer(__name__, __doc__, _compute)
