"""Where a text says again what it said before: the words that reading eyes should stop at."""

import re

ORDER = 4  # words, as in rep-4 and the repetition onset


def repeated_spans(text: str) -> list[tuple[int, int]]:
    """Places [start, end) of the text's signs that belong to a 4-gram of words which stood in the text before.

    Overlapping ones are one span. The first occurrence is not marked: it was no repetition yet.

    >>> repeated_spans("a b c d a b c d e")
    [(8, 15)]
    """
    words = [(match.group(), match.start(), match.end()) for match in re.finditer(r"\S+", text)]
    seen: set[tuple[str, ...]] = set()
    spans: list[tuple[int, int]] = []
    for at in range(len(words) - ORDER + 1):
        gram = tuple(word for word, _, _ in words[at : at + ORDER])
        if gram not in seen:
            seen.add(gram)
            continue
        start, end = words[at][1], words[at + ORDER - 1][2]
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans
