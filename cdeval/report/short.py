"""Short labels of arms: the few words that tell them apart, for places where a whole label does not fit."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[αβT]=\S*$")  # of the contrast; what stands between it and the search says how it is made


def short_labels(labels: Sequence[str]) -> dict[str, str]:
    """Shorten each label by the words that all labels of its kind (its first word) share. No two are equal.

    >>> short_labels(["exit k=1 β=1, beam 5", "exit k=2 β=1, beam 5", "expert alone, beam 5"])
    {'exit k=1 β=1, beam 5': 'exit k=1', 'exit k=2 β=1, beam 5': 'exit k=2', 'expert alone, beam 5': 'expert alone'}
    """
    kinds: dict[str, list[str]] = {}
    for label in labels:
        kinds.setdefault(label.split(" ")[0], []).append(label)
    found = {label: _without(label, kinds[label.split(" ")[0]]) for label in labels}
    taken = list(found.values())
    return {label: label if taken.count(short) > 1 else short for label, short in found.items()}


def plain_labels(labels: Sequence[str]) -> dict[str, str]:
    """Leave the contrast's numbers out of labels where the amateur and the search tell arms apart. No two are equal.

    >>> list(plain_labels(["early_exit k=8 α=0.1 β=1 T=1, beam 5", "early_exit k=8 α=0.1 β=2 T=1, beam 5"]).values())
    ['exit k=8 β=1, beam 5', 'exit k=8 β=2, beam 5']
    >>> plain_labels(["early_exit k=8 α=0.1 β=1 T=1, beam 5"])
    {'early_exit k=8 α=0.1 β=1 T=1, beam 5': 'exit k=8, beam 5'}
    """
    alike: dict[str, list[list[str]]] = {}
    for label in labels:
        alike.setdefault(_named(label, frozenset()), []).append(label.split(" "))
    found = {}
    for label in labels:
        kin = alike[_named(label, frozenset())]
        shared = set.intersection(*(set(other) for other in kin))
        found[label] = _named(label, frozenset(label.split(" ")) - shared)
    taken = list(found.values())
    return {label: label if taken.count(short) > 1 else short for label, short in found.items()}


def point_labels(labels: Sequence[str]) -> dict[str, str]:
    """Shorten each plain label by what all of its kind share, for names beside points. No two are equal.

    >>> list(point_labels(["early_exit k=8 α=0.1 β=1 T=1, beam 5", "early_exit k=9 α=0.1 β=1 T=1, beam 5"]).values())
    ['exit k=8', 'exit k=9']
    """
    plain = plain_labels(labels)
    short = short_labels(list(plain.values()))
    return {label: short[plain[label]] for label in labels}


def _named(label: str, kept: frozenset[str]) -> str:
    """A label without those of the contrast's numbers and words that are not kept."""
    head, comma, search = label.rpartition(", ")
    words = head.split(" ")
    numbers = [place for place, word in enumerate(words) if _NUMBER.match(word)]
    if not numbers:
        return re.sub("^early_exit k=", "exit k=", label)
    left = [word for place, word in enumerate(words) if place < numbers[0] or word in kept]
    return re.sub("^early_exit k=", "exit k=", f"{' '.join(left)}{comma}{search}")


def _without(label: str, kin: list[str]) -> str:
    """A label without the words that all of its kind share, but for the first; commas part what is left."""
    parts = label.split(", ")
    if len(kin) == 1:  # nothing tells it from its like: what stands before the search names it
        return parts[0]
    shared = set.intersection(*(set(other.replace(", ", " ").split(" ")) for other in kin))
    left = [[word for word in part.split(" ") if word not in shared] for part in parts]
    left[0].insert(0, label.split(" ", maxsplit=1)[0].rstrip(","))  # all share it
    return ", ".join(" ".join(words) for words in left if words)
