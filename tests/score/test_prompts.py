"""A prompt is one prompt: its samples may be written in any way, and equal ids are no proof of equal prompts."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdeval.api import score
from cdeval.errors import TextsError
from cdeval.records import Generation
from cdeval.score.arms import collect
from cdeval.score.config import FieldsConfig
from cdeval.score.prompts import check_same_prompts, one_reference_a_prompt
from cdeval.score.raters.pairs import draw_pairs
from cdeval.score.read import ReadFile, read_generations


def item(**fields: Any) -> dict[str, Any]:
    return {"id": 1, "prompt": "p", "continuation": "x", "reference": "r", **fields}


def read(tmp_path: Path, *items: object) -> ReadFile:
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in items))
    return read_generations(path, FieldsConfig())


OTHER = item(id=2, prompt="q", reference="s")


@pytest.mark.parametrize(
    "items",
    [
        [item(continuation=["x", "y"]), OTHER],
        [item(), item(continuation="y"), OTHER],
        [item(), OTHER, item(continuation="y")],
        [item(), item(continuation="y", reference=None), OTHER],
        [item(reference=None), item(continuation="y"), OTHER],
        [item(id="1"), item(continuation="y"), OTHER],
        [[item(), item(continuation="y")], OTHER],
        [item(id=None), item(id=None, continuation="y", reference=None), {**OTHER, "id": None}],
        [item(id=None, reference=None), item(id=None, continuation="y"), {**OTHER, "id": None}],
    ],
    ids=[
        "list",
        "lines",
        "apart",
        "null later",
        "null first",
        "mixed ids",
        "list line",
        "no ids",
        "no ids, null first",
    ],
)
def test_samples_are_of_one_prompt_however_they_are_written(items: list[object], tmp_path: Path) -> None:
    """Lines of their own counted the human text twice; a null reference made the sample a prompt of its own."""
    found = read(tmp_path, *items)
    assert [text.continuation for text in found.references] == ["r", "s"]
    first, second, last = found.generations
    assert first.id == second.id != last.id
    assert [text.sample for text in found.generations] == [0, 1, 0]
    assert {text.reference for text in (first, second)} == {"r"}


def test_stored_texts_of_ours_too(tmp_path: Path) -> None:
    stored = {"prompt_token_ids": [1], "token_ids": [2], "logprob_expert": -1.0, "score": None}
    ours = [item(id="1", **stored, sample=0), item(id="1", **stored, sample=1, reference=None)]
    found = read(tmp_path, *ours)
    assert found.tokenised
    assert [text.continuation for text in found.references] == ["r"]
    assert [text.reference for text in found.generations] == ["r", "r"]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([item(), item(prompt="q")], "line 2: the id '1' has another prompt there than in line 1"),
        ([item(), item(reference="other")], "the prompt '1' has two references, 'r' and 'other'"),
    ],
)
def test_one_id_for_two_prompts_or_references_is_named(items: list[object], message: str, tmp_path: Path) -> None:
    with pytest.raises(TextsError, match=message):
        read(tmp_path, *items)


def test_equal_prompts_without_ids_are_told_apart_by_their_references(tmp_path: Path) -> None:
    found = read(tmp_path, item(id=None), item(id=None, reference="s"), item(id=None, reference=None))
    first, second, third = found.generations if found.generations[1].reference == "s" else (None, None, None)
    assert first is not None
    assert first.id != second.id == third.id


def text(prompt: str, continuation: str = "x", identifier: str = "1") -> Generation:
    return Generation(identifier, prompt, (), "r", continuation, (), None, None)


def test_equal_ids_with_different_prompts_are_refused_wherever_arms_meet(tmp_path: Path) -> None:
    """Paired tests compared texts of different prompts, and raters saw one arm's text under the other's prompt."""
    arms = {"a": [text("one prompt")], "b": [text("another", "y")]}
    wanted = "'a' and 'b' have different prompts under the id '1', 'one prompt' and 'another'"
    with pytest.raises(TextsError, match=wanted):
        check_same_prompts(arms)
    with pytest.raises(TextsError, match=wanted):
        draw_pairs(("a", "b"), arms["a"], arms["b"], None, 0)
    with pytest.raises(TextsError, match=wanted):
        score(arms, metrics=["words"])
    for label, texts in arms.items():
        (tmp_path / f"{label}.jsonl").write_text(json.dumps(item(prompt=texts[0].prompt)))
    with pytest.raises(TextsError, match=wanted):
        collect([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")], (), FieldsConfig())


def test_spaces_and_arms_without_prompts_are_no_difference() -> None:
    check_same_prompts({"a": [text("one  prompt\r\n")], "b": [text("one prompt")], "c": [text("")]})
    with pytest.raises(TextsError):
        check_same_prompts({"a": [text("one prompt")], "b": [text("oneprompt")]})


def test_samples_get_numbers_of_their_own() -> None:
    same = [text("p"), text("p", "y"), replace(text("p", "z"), sample=5)]
    assert [one.sample for one in one_reference_a_prompt(same, "here")] == [0, 1, 5]


def test_api_score_counts_a_reference_once_a_prompt() -> None:
    """The last sample decided whether its prompt had a reference."""
    several = [text("p"), replace(text("p", "y"), sample=1, reference=None), text("q", "z", "2")]
    found = score({"arm": several}, metrics=["words"])
    assert found.scores["human"]["words"].n == 2
