"""Stored texts that are not of the study are named."""

from dataclasses import replace
from pathlib import Path

import pytest

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Normalizer, SearchKind, TemperatureForm
from cdeval.config.points import Point, Role
from cdeval.config.setting import Setting
from cdeval.errors import StorageError
from cdeval.records import Generation, Prompt
from cdeval.study.run_folders import check_stored

SETTING = Setting(
    Amateur(), 1.0, 0.0, 1.0, TemperatureForm.softmax, Normalizer.full, SearchKind.beam, 5, 2, Ban.special
)
POINT = Point(Role.control, SETTING, "expert alone", "a" * 64)
HUMAN = Point(Role.human, None, "human", "b" * 64)
PROMPT = Prompt("1", "A", (1, 2), " ref", (3, 4, 5))
TEXT = Generation("1", "A", (1, 2), " ref", " b c", (6, 7), -1.0, -1.0)
REFERENCE = replace(TEXT, continuation=" ref", token_ids=(3, 4, 5), logprob_expert=None, score=None)


def check(point: Point, text: Generation) -> None:
    check_stored(point, {(text.id, text.sample): text}, [PROMPT], 8, Path("runs/s/point"))


def test_texts_of_the_study_pass() -> None:
    check(POINT, TEXT)
    check(HUMAN, REFERENCE)
    free = replace(POINT, setting=replace(SETTING, ban=Ban.none))
    check(free, replace(TEXT, token_ids=()))


@pytest.mark.parametrize(
    ("point", "text", "named"),
    [
        (POINT, replace(TEXT, id="9"), "no such prompt"),
        (POINT, replace(TEXT, sample=1), "makes 1 a prompt"),
        (POINT, replace(TEXT, prompt="B"), "another prompt under the same id"),
        (POINT, replace(TEXT, prompt_token_ids=(1, 3)), "another prompt under the same id"),
        (POINT, replace(TEXT, reference=None), "its reference is another one"),
        (POINT, replace(TEXT, reference=" other"), "its reference is another one"),
        (POINT, replace(TEXT, token_ids=(6, 8)), "the token id 8 is none of the expert's 8"),
        (POINT, replace(TEXT, token_ids=(6, -1)), "the token id -1 is none"),
        (POINT, replace(TEXT, token_ids=(6, 10**30)), "is none of the expert's"),
        (POINT, replace(TEXT, token_ids=(6,)), "it has 1 tokens, and the setting makes 2"),
        (POINT, replace(TEXT, token_ids=(6, 7, 6)), "it has 3 tokens, and the setting makes 2"),
        (HUMAN, replace(REFERENCE, continuation=" other"), "not the prompt's reference"),
        (HUMAN, replace(REFERENCE, token_ids=(3,)), "not the prompt's reference"),
    ],
)
def test_others_are_named(point: Point, text: Generation, named: str) -> None:
    with pytest.raises(StorageError, match=r"generations\.jsonl: the text for sample . of the prompt '.'") as caught:
        check(point, text)
    assert named in str(caught.value)
    assert "Delete its line" in str(caught.value)
