"""The texts of a study beside each other, with the words marked that a text says again."""

import json
import re
from typing import Any

from cdeval.records import Generation
from cdeval.report.studyfiles import Study
from cdeval.store.private import masked

ORDER = 4  # words, as in rep-4 and the repetition onset
MOST_BYTES = 2_500_000  # of prompts and texts on a page, whose plotting script alone has five million


def side_by_side(study: Study) -> list[dict[str, Any]]:
    """List the prompts of a study, each with the human text and every arm's; as many prompts as a page may hold.

    A text is [arm, sample, text, places]: the arm's place in the study and the ends of all `repeated_spans`, counted
    as JavaScript counts: in UTF-16, where some signs count twice.
    """
    prompts: dict[str, tuple[str, list[tuple[int, Generation]]]] = {}
    for place, arm in sorted(enumerate(study.arms), key=lambda pair: not pair[1].is_human):
        for text in arm.generations:
            prompts.setdefault(text.id, (text.prompt, []))[1].append((place, text))
    kept: list[dict[str, Any]] = []
    size = 0
    for name, (prompt, texts) in prompts.items():
        shown = {"id": name, "prompt": prompt, "texts": [_shown(place, text) for place, text in texts]}
        size += len(json.dumps(shown))
        if kept and size > MOST_BYTES:
            break
        kept.append(shown)
    return kept


def _shown(place: int, text: Generation) -> list[Any]:
    shown = masked(text.continuation)  # before places in it are counted
    return [place, text.sample, shown, [_utf16(shown, at) for span in repeated_spans(shown) for at in span]]


def _utf16(text: str, place: int) -> int:
    return len(text[:place].encode("utf-16-le", "surrogatepass")) // 2


def repeated_spans(text: str) -> list[tuple[int, int]]:
    """Find the places [start, end) of a text's signs that belong to a 4-gram of words which stood in the text before.

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
