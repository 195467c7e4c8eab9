"""A small file of pairs that people have judged, made here: what a study of people hands in, in no one's words."""

import json
import random
from pathlib import Path

PROMPT = "The quick brown fox"
DULL, LIVELY = "dull", "lively"


def pairs(count: int = 40, seed: int = 0) -> list[dict[str, object]]:
    """Texts that loop and texts that do not; three of four people prefer those that do not, in most pairs."""
    rng = random.Random(seed)
    words = ["runs", "over", "the", "old", "dog", "and", "into", "a", "river", "near", "that", "forest"]
    made = []
    for number in range(count):
        text = {LIVELY: " ".join(rng.sample(words, 8)), DULL: " ".join(words[:2] * 4)}
        first = rng.choice([DULL, LIVELY])
        second = LIVELY if first == DULL else DULL
        good = "a" if (first == LIVELY) == (number % 5 > 0) else "b"
        votes = [good, good, "tie", "b" if good == "a" else "a"] if number % 10 else ["a", "b"]
        sides = {side: {"arm": arm, "text": f"{PROMPT} {text[arm]}"} for side, arm in (("a", first), ("b", second))}
        made.append({"id": number, "domain": "made", "prompt": PROMPT, **sides, "votes": votes})
    return made


def write_pairs(path: Path, count: int = 40) -> Path:
    """Write such a file."""
    path.write_text(json.dumps(pairs(count)))
    return path
