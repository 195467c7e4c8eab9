"""The pairs that people judge: prompts that both arms continue, blinded, in random order, sides balanced."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cdeval.errors import TextsError
from cdeval.records import Generation
from cdeval.score.prompts import check_same_prompts


@dataclass(frozen=True, slots=True)
class BlindPair:
    """Two continuations of one prompt, as a rater sees them, and who wrote them."""

    code: str  # what raters see instead of the prompt's id: p001
    id: str  # of the prompt
    prompt: str
    left: str
    right: str
    first_is_left: bool  # the first arm's text stands left


@dataclass(frozen=True, slots=True)
class Sheet:
    """The pairs of one comparison."""

    arms: tuple[str, str]  # labels: the first, the second
    pairs: tuple[BlindPair, ...]
    unused: int  # prompts that only one arm continues
    same: int  # prompts whose two texts are equal, which nobody can tell apart

    @property
    def digest(self) -> str:
        """The SHA-256 of what raters see, without who wrote it: it ties votes to their sheet."""
        seen = [[pair.code, pair.prompt, pair.left, pair.right] for pair in self.pairs]
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]

    def key(self) -> dict[str, object]:
        """Tell who wrote what, for a file that raters do not get."""
        return {
            "sheet": self.digest,
            "arms": list(self.arms),
            "pairs": {
                pair.code: {"id": pair.id, "left": self.arms[0 if pair.first_is_left else 1]} for pair in self.pairs
            },
        }


def draw_pairs(
    labels: tuple[str, str],
    first: Sequence[Generation],
    second: Sequence[Generation],
    limit: int | None,
    seed: int,
) -> Sheet:
    """Pair up the first sample of each prompt that both arms continue.

    Order and sides come from the seed. Each arm stands left in half of the pairs (one more at most), so that a rater's
    taste for a side favours neither.

    Raises: TextsError: no prompt is continued by both, or an id stands for different prompts.
    """
    check_same_prompts({labels[0]: first, labels[1]: second})
    ours, theirs = _first(first), _first(second)
    shared = [identifier for identifier in ours if identifier in theirs]
    unlike = [i for i in shared if ours[i].continuation.strip() != theirs[i].continuation.strip()]
    if not unlike:
        raise TextsError(
            f"{labels[0]!r} and {labels[1]!r} have no pair to judge: {len(shared)} prompts in common, none with two "
            "different texts. Ids or prompts must be the same in both."
        )
    rng = np.random.default_rng(seed)
    drawn = [unlike[index] for index in rng.permutation(len(unlike))[:limit]]
    sides = rng.permutation([index % 2 == 0 for index in range(len(drawn))])
    width = max(3, len(str(len(drawn))))
    pairs = []
    for number, (identifier, first_is_left) in enumerate(zip(drawn, sides, strict=True), 1):
        texts = (ours[identifier].continuation, theirs[identifier].continuation)
        left, right = texts if first_is_left else texts[::-1]
        pairs.append(
            BlindPair(f"p{number:0{width}}", identifier, ours[identifier].prompt, left, right, bool(first_is_left))
        )
    unused = len(ours) + len(theirs) - 2 * len(shared)
    return Sheet(labels, tuple(pairs), unused, len(shared) - len(unlike))


def _first(generations: Sequence[Generation]) -> dict[str, Generation]:
    found: dict[str, Generation] = {}
    for generation in generations:
        found.setdefault(generation.id, generation)
    return found
