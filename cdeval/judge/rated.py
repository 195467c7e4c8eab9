"""Pairs that people have judged: what they read, and how they voted.

A file is a list of pairs, or one a line:

    {"id": 0, "prompt": "The rain", "a": {"arm": "beam", "text": "The rain fell."},
     "b": {"arm": "nucleus", "text": "The rain sang."}, "votes": ["a", "b", "tie", "a"]}

`a` and `b` may be plain texts; `arm`, `id` and `reference` (how the prompt's author went on) may be missing. Where a
text begins with its prompt, that is cut off. Other fields are left alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cdeval.errors import TextsError
from cdeval.records import Generation
from cdeval.store.item_file import ItemFile

SIDES = ("a", "b")
TIE = "tie"
_SHAPE = 'expected pairs, each {"prompt": …, "a": {"text": …}, "b": {"text": …}, "votes": ["a", "b", "tie", …]}'


class RatedPair(NamedTuple):
    """Two continuations of one prompt, and what people said of them."""

    id: str
    prompt: str
    reference: str | None
    texts: tuple[str, str]  # continuations a and b
    arms: tuple[str, str]  # who wrote them; empty where nobody says
    votes: tuple[str, ...]  # a, b or tie, a person each

    @property
    def majority(self) -> int:
        """1: more people prefer a, −1: more prefer b, 0: as many, or nobody prefers one."""
        ours, theirs = self.votes.count("a"), self.votes.count("b")
        return (ours > theirs) - (ours < theirs)

    @property
    def preferred(self) -> str:
        """The arm whose text more people prefer; empty where it is none, or nobody says which."""
        return {1: self.arms[0], -1: self.arms[1]}.get(self.majority, "")

    def generation(self, side: int, name: str) -> Generation:
        """One of the two texts as metrics read it. Args: side: 0 or 1. name: for messages, and to tell pairs apart."""
        return Generation(name, self.prompt, (), self.reference, self.texts[side], (), None, None)


def read_rated(path: Path, limit: int | None = None) -> list[RatedPair]:
    """Read a file of judged pairs. Args: limit: the first ones only.

    Raises: TextsError: it cannot be read, holds something else, or nobody voted.
    """
    file = ItemFile(path, "calibration.path", _SHAPE, TextsError)
    pairs = []
    for place, (where, _, value) in enumerate(file.located()):
        if limit is not None and place >= limit:
            break
        pairs.append(_pair(value, f"{path}, {where}", place))
    if not any(pair.majority for pair in pairs):
        raise TextsError(
            f"calibration.path={path}: of {len(pairs)} pairs people prefer neither text in any: {_SHAPE}, and votes of "
            "which more are for a or for b."
        )
    return pairs


def _pair(value: object, where: str, place: int) -> RatedPair:
    if not isinstance(value, Mapping) or not isinstance(value.get("prompt"), str) or not value["prompt"].strip():
        raise TextsError(f"{where}: there is no prompt: {_SHAPE}.")
    prompt, votes = value["prompt"], value.get("votes")
    if not isinstance(votes, list) or not all(vote in (*SIDES, TIE) for vote in votes):
        raise TextsError(f"{where}: votes={votes!r}: expected a list of a, b and tie.")
    texts, arms = zip(*(_side(value, name, prompt, where) for name in SIDES), strict=True)
    reference = value.get("reference")
    if reference is not None and not isinstance(reference, str):
        raise TextsError(f"{where}: the reference is {type(reference).__name__}: expected text, or nothing.")
    return RatedPair(str(value.get("id", place)), prompt, reference, texts, arms, tuple(votes))


def _side(value: Mapping[str, Any], name: str, prompt: str, where: str) -> tuple[str, str]:
    """The continuation and its arm. Raises: TextsError: there is none."""
    side = value.get(name)
    side = {"text": side} if isinstance(side, str) else side
    if not isinstance(side, Mapping) or not isinstance(side.get("text"), str):
        raise TextsError(f"{where}: {name} has no text: {_SHAPE}.")
    text, arm = side["text"], side.get("arm", "")
    if not isinstance(arm, str):
        raise TextsError(f"{where}: the arm of {name} is {arm!r}: expected a name.")
    return text.removeprefix(prompt), arm
