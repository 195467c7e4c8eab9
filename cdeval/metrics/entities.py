"""Entity overlap: does the continuation speak of whom and what the prompt named?

    entity overlap = Σ_texts entity mentions of the continuation that occur in the prompt / Σ_texts its entity mentions

in [0, 1]; neither direction is good by itself: 0 leaves everybody behind, 1 introduces nobody. The human texts of Su &
Xu's (2022) book prompts have 0.18.

An entity mention is a longest run of capitalised words that does not begin a sentence: "Then Mary Smith met the U.S.
team" has "Mary Smith" and "U.S". It occurs in the prompt where its words stand there in a row, in the same spelling;
a possessive 's is left out. A run ends at punctuation, and so does a sentence at . ! ? … : or a line break, but not
after a title (Mr.) or a single letter (J.). The word I is none. No model, no list of names.

Limits: a name that begins a sentence loses its first word, titles of works and the German noun count as entities,
"Bank of England" is two, and scripts without capitals (Chinese, Arabic) have none. A text without a mention has no
value (NaN) and is counted. Our own definition, for comparing arms on the same prompts, not for figures in print.
"""

import math
import re
from collections.abc import Sequence

import numpy as np

from cdeval.metrics.evaluating import offer
from cdeval.metrics.forms import fraction
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Place

_TITLES = frozenset(
    {"Mr", "Mrs", "Ms", "Dr", "Prof", "St", "Gen", "Gov", "Sen", "Rep", "Capt", "Lt", "Col", "Sgt", "Jr"}
)
_I = frozenset({"I", "I'm", "I've", "I'd", "I'll", "I’m", "I’ve", "I’d", "I’ll"})
_QUOTES = "\"'“”‘’«»()[]{}*_"
_EDGES = _QUOTES + ".,;:!?…-–—"
_WORD = re.compile(r"\n|[^\s]+")


@metric(
    "entity_overlap",
    label="names in the prompt",
    header="names in\nprompt",
    form=fraction(3),
    bounds=(0, 1),
    place=Place.diagnostic,
    order=44,
    note="share of the capitalised names that the prompt holds, too",
    lacking="no text has such a name",
)
def overlap(prompt: str, text: str) -> tuple[float, float]:
    """Mentions that occur in the prompt, and all mentions; NaN, NaN where there is none."""
    found = mentions(text, after=prompt)
    words = f" {' '.join(_bare(word) for word in prompt.split())} "
    return (sum(f" {mention} " in words for mention in found), len(found)) if found else (math.nan, math.nan)


def mentions(text: str, after: str = "") -> list[str]:
    """The entity mentions of a text, in its order; `after` is what stands before it.

    >>> mentions("said. Then Mary Smith, of the U.S. team, left.", after="So he")
    ['Mary Smith', 'U.S']
    """
    found: list[list[str]] = []
    before = _WORD.findall(after)
    starts, running = not before or _ends_sentence(before[-1]), False
    for word in _WORD.findall(text):
        bare = _bare(word)
        named = bare[:1].isupper() and bare not in _I and not starts and not _opens_speech(word)
        if named and running and not word.startswith(tuple(_QUOTES)):
            found[-1].append(bare)
        elif named:
            found.append([bare])
        running = named and _continues(word)
        if bare or word == "\n":
            starts = _ends_sentence(word)
    return [" ".join(words) for words in found]


def _opens_speech(word: str) -> bool:
    """A quotation mark before a word begins a sentence of its own; a bracket or an asterisk does not."""
    return word[0] in "\"“‘«'"


def _bare(word: str) -> str:
    bare = word.strip(_EDGES)
    return re.sub(r"['’]s$", "", bare)


def _continues(word: str) -> bool:
    """Whether the next word may belong to the same mention: nothing but a title's or an initial's point after it."""
    return word[-1].isalnum() or _is_short_form(word)


def _ends_sentence(word: str) -> bool:
    if word == "\n":
        return True
    return word.rstrip(_QUOTES).endswith((".", "!", "?", "…", ":")) and not _is_short_form(word)


def _is_short_form(word: str) -> bool:
    """Mr., J. and U.S.: the point belongs to the word."""
    bare = word.strip(_QUOTES)
    return bare.endswith(".") and (bare[:-1] in _TITLES or all(len(part) == 1 for part in bare[:-1].split(".")))


def _compute(predictions: Sequence[str], prompts: Sequence[str]) -> dict[str, float]:
    pairs = [overlap(*pair) for pair in zip(prompts, predictions, strict=True)]
    rows = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    sums = rows[~np.isnan(rows).any(axis=1)].sum(axis=0)
    return {
        "entity_overlap": float(sums[0] / sums[1]) if sums[1] else math.nan,
        "missing": float(np.isnan(rows).any(axis=1).sum()),
    }


Module = offer(__name__, __doc__, _compute)
