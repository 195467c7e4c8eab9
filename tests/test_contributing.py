"""CONTRIBUTING.md against the code: the order of the rooms, and the walks through the files that it names."""

import re
from pathlib import Path

import pytest

from tests.test_imports import RANKS

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
WALKS = re.findall(r"\*\*([^*]+\?)\*\*([^*]+)", TEXT.split("### Three walks")[1].split("###")[0])


def test_the_rooms_stand_in_the_order_of_the_imports() -> None:
    listed = re.findall(r"^    (\w+(?: · \w+)*) {2,}", TEXT, re.MULTILINE)
    assert [set(line.split(" · ")) for line in listed] == RANKS


@pytest.mark.parametrize(("question", "answer"), WALKS, ids=[question for question, _ in WALKS])
def test_a_walk_leads_through_four_files_that_hold_what_it_names(question: str, answer: str) -> None:
    """Kills a walk that a renamed function or a moved file has made wrong."""
    steps = re.findall(r"^\d\. `(\S+)`:(.+?)(?=^\d\.|\Z)", answer, re.MULTILINE | re.DOTALL)
    assert 1 < len(steps) <= 4
    for path, said in steps:
        (file, *_) = sorted(ROOT.glob(path.replace("<name>", "*")))
        code = file.read_text("utf-8")
        for name in re.findall(r"`([\w.]+)`", said):
            for part in name.split("."):
                assert re.search(rf"\b{part}\b", code), f"{question} {path} holds no {part}"


def test_there_are_three_walks() -> None:
    assert len(WALKS) == 3
