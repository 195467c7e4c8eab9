"""The file of pairs that people have judged."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cdeval.errors import TextsError
from cdeval.judge.rated import read_rated
from tests.judge.pairs import PROMPT, pairs, write_pairs

PLAIN = {"prompt": "One", "a": " two", "b": "One three", "votes": ["a", "tie"], "reference": " four"}


def test_prompts_are_cut_off_and_votes_counted(tmp_path: Path) -> None:
    found = read_rated(write_pairs(tmp_path / "pairs.json"))
    assert len(found) == 40
    assert not any(PROMPT in text for pair in found for text in pair.texts)
    assert [pair.majority == 0 for pair in found] == [number % 10 == 0 for number in range(40)]
    for pair in found:
        votes = pair.votes.count("a") - pair.votes.count("b")
        assert pair.majority == (votes > 0) - (votes < 0)
        assert pair.preferred == ("" if not votes else pair.arms[votes < 0])
    assert found[3].generation(1, "x").continuation == found[3].texts[1]
    assert len(read_rated(tmp_path / "pairs.json", limit=7)) == 7


def test_a_line_a_pair_and_plain_texts(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in (PLAIN, PLAIN)))
    first, second = read_rated(path)
    assert (first.texts, first.arms, first.reference) == ((" two", " three"), ("", ""), " four")
    assert (first.id, second.id) == ("0", "1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"votes": ["a", "left"]}, "item 1: votes=['a', 'left']: expected a list of a, b and tie"),
        ({"votes": "a"}, "votes='a': expected a list"),
        ({"prompt": None}, "item 1: there is no prompt"),
        ({"prompt": " "}, "item 1: there is no prompt"),
        ({"a": {"arm": "x"}}, "item 1: a has no text"),
        ({"b": {"text": "x", "arm": 3}}, "the arm of b is 3"),
        ({"reference": 1}, "the reference is int"),
        ({"votes": ["tie"]}, "people prefer neither text in any"),
    ],
)
def test_a_mistake_names_its_place(change: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps([{**PLAIN, **change}]))
    with pytest.raises(TextsError) as raised:
        read_rated(path)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "there is nothing to judge"),
        (["calibration.path=nowhere.json"], "nowhere.json"),
        (["judge.by=none", "generations=a.jsonl"], "judge.by=none judges no texts"),
        (["judge.by=none", "calibration.path=p.json", "calibration.metrics=false"], "leaves nothing to do"),
        (["judge.by=reward_model", "generations=a.jsonl"], "needs judge.model: a folder or hub id of a sequence"),
        (["judge.model=./nowhere", "generations=a.jsonl"], "judge.model=./nowhere is not a folder"),
        (["judge.by=server", "generations=a.jsonl"], "judge.by=server needs judge.url"),
        (
            ["judge.url=http://127.0.0.1/v1", "generations=a.jsonl"],
            "judge.by=language_model: add judge.by=server",
        ),
        (["judge.by=server", "judge.url=127.0.0.1:80/v1", "generations=a"], "judge.url is no address that is asked"),
        (["judge.by=server", "judge.url=http://me:secret@host/v1", "generations=a"], "without a name or password"),
        (["judge.by=server", "judge.url=http://localhost/v1?x=1", "generations=a"], "leave ? and # out"),
        (["judge.by=server", "judge.url=http://localhost/v1", "generations=a"], "what the model is called there"),
        (
            [
                "judge.by=server",
                "judge.url=http://localhost/v1",
                "judge.model=m",
                "judge.key=NO_KEY",
                "generations=a",
            ],
            "judge.key=NO_KEY names no environment variable with a key in it",
        ),
        (
            ["judge.by=server", "judge.url=http://far.org/v1", "judge.model=m", "judge.key=KEY", "generations=a"],
            "a key is sent to other machines over https alone",
        ),
        (["judge.tie_within=0.5", "generations=a.jsonl"], "judge.tie_within=0.5 is out of range"),
        (["metrics.only=[divresity]", "calibration.path=p.json"], "Did you mean 'diversity'"),
    ],
)
def test_a_mistake_of_the_command_gets_one_message(
    words: Sequence[str],
    message: str,
    refused: Callable[[str, Sequence[str]], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY", "s3cret")
    said = refused("judge", words)
    assert message in said
    assert "s3cret" not in said
    assert "me:secret" not in said


def test_the_made_pairs_are_of_two_arms() -> None:
    assert {side["arm"] for pair in pairs() for side in (pair["a"], pair["b"])} == {"dull", "lively"}  # type: ignore[index]
