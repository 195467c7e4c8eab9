"""Longest repeated span: the longest thing that a text says twice, word for word.

    longest repeat = number of words of the longest span that begins at two positions or more; mean over the texts

over whitespace-separated words; 0 or more, lower is better; the human texts of Su & Xu's (2022) book prompts, 149 words
long, have 2.7. Occurrences may overlap: n times the same word have n − 1, so that a loop shows at its full length. A
text without words has no value (NaN) and is counted; one word has 0. Longer texts have longer repeats: compare equal
lengths.

By a suffix automaton (Blumer et al. 1985), in time proportional to the number of words. Our own diagnostic.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from cdeval.metrics.evaluating import offer


class _State:
    """All spans that end at the same positions of the text."""

    __slots__ = ("following", "length", "link", "repeated")

    def __init__(self, length: int, following: dict[str, "_State"], link: "_State | None") -> None:
        self.length = length  # of the longest of these spans [words]
        self.following = following
        self.link = link  # the state of the longest suffix that ends at more positions
        self.repeated = False


def longest_repeat(words: Sequence[str]) -> int:
    """The number of words of the longest span that occurs twice or more.

    >>> longest_repeat("to be or not to be".split())
    2
    """
    root = _State(0, {}, None)
    last = root
    states = [root]
    for word in words:
        last = _extended(last, word, states)
    return max(state.length for state in states if state is root or state.repeated)


def _extended(last: _State, word: str, states: list[_State]) -> _State:
    """Append a word to the text that `last` stands for; a span that gets a second end is marked as repeated.

    A state is some other's link exactly if its spans end at more positions than that other's: twice or more, or once
    and at the text's beginning. Only the whole text so far could be the latter, and it is marked where it recurs: the
    new state's link holds the longest suffix that occurred before.
    """
    root = states[0]
    new = _State(last.length + 1, {}, None)
    states.append(new)
    state: _State | None = last
    while state is not None and word not in state.following:
        state.following[word] = new
        state = state.link
    if state is None:
        new.link = root
        return new
    target = state.following[word]
    if target.length != state.length + 1:
        target = _split(state, word, target, states)
    new.link = target
    target.repeated = True
    return new


def _split(state: _State, word: str, target: _State, states: list[_State]) -> _State:
    """The shorter spans of `target`, which from now on end at one position more than its longer ones."""
    copy = _State(state.length + 1, dict(target.following), target.link)
    copy.repeated = True
    states.append(copy)
    target.link = copy
    walk: _State | None = state
    while walk is not None and walk.following.get(word) is target:
        walk.following[word] = copy
        walk = walk.link
    return copy


def longest_rows(texts: Sequence[str]) -> Float[np.ndarray, "text 1"]:
    """The longest repeat of each text [words]; NaN for a text without words."""
    values = [float(longest_repeat(words)) if words else math.nan for words in map(str.split, texts)]
    return np.array(values, dtype=np.float64).reshape(-1, 1)


def _compute(predictions: Sequence[str]) -> dict[str, float]:
    values = longest_rows(predictions)[:, 0]
    present = values[~np.isnan(values)]
    mean = float(present.mean()) if len(present) else math.nan
    return {"longest_repeat": mean, "missing": float(len(values) - len(present))}


Metric = offer(__name__, __doc__, _compute)
