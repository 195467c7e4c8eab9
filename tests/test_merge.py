"""Merging: unions of texts, nothing changed on the way, and no half of it where texts disagree."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cdeval.cli import Schema, run_schema
from cdeval.errors import StorageError
from cdeval.merge import MergeConfig, Merged, merge, merge_studies, validate_merge
from cdeval.records import Generation
from cdeval.store.folder import RunFolder
from cdeval.store.ledger import read_ledger


def text(name: str, continuation: str = "so it goes", score: float = -1.0) -> Generation:
    return Generation(name, "A", (1,), None, continuation, tuple(map(ord, continuation)), score, score)


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, **points: list[Generation]) -> Path:
        for point, texts in points.items():
            with RunFolder(tmp_path / name / f"{point}-0") as folder:
                folder.append(texts)
                folder.write_text("config.yaml", f"study: {name}\n")
                session = {"started_utc": name, "identity": {}, "plan": None}
                facts = {"label": point, "role": "arm", "digest": point * 8}
                folder.write_json("provenance.json", {"point": facts, "sessions": [session]})
                folder.finish({"texts": len(texts)})
        return tmp_path / name

    return make


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_points_are_united_and_sources_stay_as_they_are(study: Callable[..., Path], tmp_path: Path) -> None:
    """A machine's part of a point and the other's; a point that only one has; twice the same changes nothing."""
    first = study("first", a=[text("1"), text("2", score=-1.0)], b=[text("1")])
    second = study("second", a=[text("2", score=-1.0000001), text("3")], c=[text("1", "else")])
    before = content(first), content(second)
    into = tmp_path / "all"
    assert merge_studies([first, second], into) == [Merged("a-0", 3, 3), Merged("b-0", 1, 1), Merged("c-0", 1, 1)]
    assert (content(first), content(second)) == before
    united = RunFolder(into / "a-0").generations()
    assert list(united) == [("1", 0), ("2", 0), ("3", 0)]
    assert united["2", 0].score == -1.0, "the first machine's record of a text that both have"
    assert not (into / "a-0" / "summary.json").exists(), "scores of a part are not those of the whole"
    sessions = json.loads((into / "a-0" / "provenance.json").read_text())["sessions"]
    assert [session["started_utc"] for session in sessions] == ["first", "second"]
    once = content(into)
    assert [point.added for point in merge_studies([first, second], into)] == [0, 0, 0]
    assert content(into) == once


def test_settings_are_taken_over_without_the_home_folder(
    study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    first = study("first", a=[text("1")])
    (first / "a-0" / "config.yaml").write_text(f"runs: {tmp_path}\nexpert:\n  name: {tmp_path}/model\n")
    merge_studies([first], tmp_path / "all")
    settings = yaml.safe_load((tmp_path / "all" / "a-0" / "config.yaml").read_text())
    assert settings == {"runs": "~", "expert": {"name": "~/model"}}


def test_a_later_machine_adds_to_what_is_merged(study: Callable[..., Path], tmp_path: Path) -> None:
    into = tmp_path / "all"
    merge_studies([study("first", a=[text("1")])], into)
    (into / "study.json").write_text(json.dumps({"points": [], "plans": {}}))
    assert merge_studies([study("second", a=[text("2")], b=[text("1")])], into)[0] == Merged("a-0", 2, 1)
    assert set(read_ledger(into).points) == {"a" * 8, "b" * 8}, "an old ledger must not hide what was added"


def test_texts_that_disagree_are_named_and_nothing_is_written(study: Callable[..., Path], tmp_path: Path) -> None:
    first = study("first", a=[text("1")], b=[text("1", "one")])
    second = study("second", a=[text("2")], b=[text("1", "other")])
    with pytest.raises(StorageError) as caught:
        merge_studies([first, second], tmp_path / "all")
    message = str(caught.value)
    assert str(first / "b-0" / "generations.jsonl") in message
    assert str(second / "b-0" / "generations.jsonl") in message
    assert "the prompt '1'" in message
    assert not (tmp_path / "all").exists()


# What was typed, and what the message must say; <study> and <empty> are folders.
MISTAKES: list[tuple[list[str], str]] = [
    ([], "studies=None: expected folders of studies"),
    (["studies=[]", "into=all"], "studies=[]: expected folders of studies"),
    (["studies=<study>"], "into= has no value"),
    (["studies=[<study>,nowhere]", "into=all"], "nowhere is no folder: expected a study"),
    (["studies=<empty>", "into=all"], "<empty> is no study: none of its folders has generations.jsonl"),
    (["studies=<study>", "into=<study>"], "is one of the studies that are merged"),
    (["from=[a,b]", "into=all"], "unknown setting 'from'"),
    (["studies=<torn>", "into=all"], "line 1 is not a stored text"),
    (["studies=<foreign>", "into=all"], "names no point"),
]


@pytest.mark.parametrize(("typed", "message"), MISTAKES)
def test_mistakes_get_one_message(
    typed: list[str],
    message: str,
    study: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    study("good", a=[text("1")])
    (tmp_path / "void").mkdir()
    torn = study("torn", a=[text("1"), text("2")]) / "a-0" / "generations.jsonl"
    torn.write_bytes(b"garbage\n" + torn.read_bytes())
    (study("foreign", a=[text("1")]) / "a-0" / "provenance.json").write_text("{}")
    names = {"<study>": "good", "<empty>": "void", "<torn>": "torn", "<foreign>": "foreign"}

    def named(line: str) -> str:
        for sign, name in names.items():
            line = line.replace(sign, name)
        return line

    monkeypatch.setattr(sys, "argv", ["cdeval.merge", *map(named, typed)])
    with pytest.raises(SystemExit) as stopped:
        run_schema(merge, Schema(MergeConfig, validate_merge), config_name="merge")
    printed = capsys.readouterr().err
    assert stopped.value.code == 2
    assert named(message) in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "all").exists()


MADE = {"expert": "a", "architecture": "gpt2", "fingerprint": "f" * 64, "dtype": "bfloat16", "device": "cpu"}


def made_by(folder: Path, cpu: str = "this", **models: object) -> None:
    record = json.loads((folder / "b-0" / "provenance.json").read_text())
    rest = {"libraries": {"torch": "2"}, "machine": {"cpu": cpu}, "numerics": {"threads": 2}}
    (folder / "b-0" / "provenance.json").write_text(json.dumps({**record, **rest, "models": {**MADE, **models}}))


@pytest.mark.parametrize(
    ("cpu", "models", "blamed"),
    [
        ("this", {"fingerprint": "e" * 64}, "made by different models (fingerprint of the expert ffff"),
        ("this", {"architecture": "opt"}, "made by different models (architecture of the expert gpt2 and opt"),
        ("this", {"lens": {"digest": "2"}}, "made by different models (lens 1 and 2"),
        ("another", {}, "made otherwise (cpu this and another): in bfloat16 that rounds"),
        ("this", {"dtype": "float32"}, "made by different models (dtype of the expert bfloat16 and float32)"),
        ("this", {"expert": "another/name"}, "Their provenance is the same, so one of them was changed afterwards"),
    ],
)
def test_texts_that_disagree_are_blamed_on_what_differs(
    study: Callable[..., Path], tmp_path: Path, cpu: str, models: dict[str, object], blamed: str
) -> None:
    first, second = study("first", b=[text("1", "one")]), study("second", b=[text("1", "other")])
    made_by(first, lens={"digest": "1"})
    made_by(second, cpu, **{"lens": {"digest": "1"}, **models})
    with pytest.raises(StorageError) as caught:
        merge_studies([first, second], tmp_path / "all")
    assert blamed in str(caught.value)
    assert ("rounds" in str(caught.value)) == (cpu == "another")


def test_two_models_are_not_united_even_where_their_texts_do_not_meet(
    study: Callable[..., Path], tmp_path: Path
) -> None:
    first, second = study("first", b=[text("1")]), study("second", b=[text("2")])
    made_by(first)
    made_by(second, fingerprint="e" * 64)
    with pytest.raises(StorageError, match="made by different models"):
        merge_studies([first, second], tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize("change", [{"prompt": "B"}, {"prompt_token_ids": (2,)}, {"reference": "R"}])
def test_two_prompts_under_one_id_are_not_united(
    study: Callable[..., Path], tmp_path: Path, change: dict[str, object]
) -> None:
    first = study("first", b=[text("1")])
    second = study("second", b=[replace(text("1"), **change)])  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="different prompts or references under the id '1'"):
        merge_studies([first, second], tmp_path / "all")
