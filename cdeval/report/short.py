"""Short labels of arms: the few words that tell them apart, for places where a whole label does not fit."""

from collections.abc import Sequence


def short_labels(labels: Sequence[str]) -> dict[str, str]:
    """Shorten each label by the words that all labels of its kind (its first word) share. No two are equal.

    >>> short_labels(["exit k=1 β=1, beam 5", "exit k=2 β=1, beam 5", "expert alone, beam 5"])
    {'exit k=1 β=1, beam 5': 'exit k=1', 'exit k=2 β=1, beam 5': 'exit k=2', 'expert alone, beam 5': 'expert alone'}
    """
    kinds: dict[str, list[list[str]]] = {}
    for label in labels:
        kinds.setdefault(label.split(" ")[0], []).append(label.split(" "))
    found = {label: _without(label.split(" "), kinds[label.split(" ")[0]]) for label in labels}
    taken = list(found.values())
    return {label: label if taken.count(short) > 1 else short for label, short in found.items()}


def _without(words: list[str], kin: list[list[str]]) -> str:
    if len(kin) == 1:  # nothing tells it from its like: what stands before the search names it
        return " ".join(words).split(", ")[0]
    shared = set.intersection(*(set(other) for other in kin))
    return " ".join(word for place, word in enumerate(words) if place == 0 or word not in shared).rstrip(",")
