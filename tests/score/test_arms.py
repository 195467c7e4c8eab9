import json
from pathlib import Path

import pytest
import yaml

from cdeval.errors import TextsError
from cdeval.score.arms import collect, distinguishing
from cdeval.score.config import FieldsConfig

NONE = FieldsConfig()


def write(path: Path, prompts: str, reference: str | None = "r") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    items = [{"prompt": p, "continuation": f"{p} goes on", "reference": reference} for p in prompts]
    path.write_text(json.dumps(items))
    return path


def run_folder(path: Path, label: str, role: str) -> None:
    path.mkdir(parents=True)
    record = {"id": "1", "prompt": "p", "prompt_token_ids": [1], "reference": "r", "continuation": role}
    record |= {"token_ids": [1], "logprob_expert": None, "score": None}
    (path / "generations.jsonl").write_text(json.dumps(record) + "\n")
    (path / "config.yaml").write_text(yaml.safe_dump({"point": {"label": label, "role": role}}))


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["a.jsonl"], ["a"]),
        (["x/run/generations.jsonl"], ["run"]),
        (["out/a/t.jsonl", "out/b/t.jsonl"], ["a", "b"]),
        (["out/a/t.jsonl", "out/b/u.jsonl"], ["a/t", "b/u"]),
        (["a.jsonl", "a/a.jsonl"], ["a.jsonl", "a/a.jsonl"]),
        (["same.json", "same.json"], ["same", "same"]),
        (["t.json", "t.jsonl"], ["t.json", "t.jsonl"]),
    ],
)
def test_labels_are_what_tells_paths_apart(paths: list[str], labels: list[str]) -> None:
    assert distinguishing([Path(path) for path in paths]) == labels


def test_a_study_folder_is_its_run_folders_with_the_human_texts_apart(tmp_path: Path) -> None:
    run_folder(tmp_path / "study" / "one", "k=6", "arm")
    run_folder(tmp_path / "study" / "two", "expert alone", "control")
    run_folder(tmp_path / "study" / "three", "human", "human")
    found = collect([str(tmp_path / "study")], [], NONE)
    assert {arm.label for arm in found.arms} == {"k=6", "expert alone"}
    assert [(text.continuation, text.token_ids) for text in found.human] == [("human", (1,))]


def test_a_study_is_scored_beside_a_run_that_has_no_texts(tmp_path: Path) -> None:
    """Costs of random weights land in the same study by default, and no text with them."""
    study = tmp_path / "study"
    run_folder(study / "one", "k=6", "arm")
    run_folder(study / "costs", "k=8", "arm")
    (study / "costs" / "generations.jsonl").write_text("")
    found = collect([str(study)], [], NONE)
    assert [arm.label for arm in found.arms] == ["k=6"]
    assert "costs: left out, it holds no texts" in found.notes
    (study / "one" / "generations.jsonl").write_text("")
    with pytest.raises(TextsError, match="a folder without texts"):
        collect([str(study)], [], NONE)


def test_unequal_prompts_are_said_with_their_numbers(tmp_path: Path) -> None:
    paths = [str(write(tmp_path / "a.json", "xyz")), str(write(tmp_path / "b.json", "yzw1"))]
    note = collect(paths, [], NONE).notes[-1]
    assert "a 3, b 4; 2 in common" in note
    assert "paired, on the prompts in common" in note
    assert not any("in common" in line for line in collect(paths[:1], [], NONE).notes)


def test_the_human_texts_are_one_an_item_from_whichever_file_has_them(tmp_path: Path) -> None:
    paths = [str(write(tmp_path / "a.json", "xy")), str(write(tmp_path / "b.json", "yz", reference="other"))]
    found = collect(paths, [], NONE)
    assert [text.continuation for text in found.human] == ["r", "r", "other"]
    assert any("1 prompts have different references" in note for note in found.notes)
    assert not collect([str(write(tmp_path / "c.json", "x", reference=None))], [], NONE).human


def test_mistakes(tmp_path: Path) -> None:
    one = str(write(tmp_path / "a.json", "x"))
    (tmp_path / "empty").mkdir()
    run_folder(tmp_path / "human", "human", "human")
    for paths, labels, expected in [
        ([one, one], [], "two arms are called 'a'"),
        ([one], ["a", "b"], "names 2 arms, but there are 1"),
        ([one], ["human"], "as the references are"),
        ([str(tmp_path / "empty")], [], "a folder without texts"),
        ([str(tmp_path / "nowhere")], [], "does not exist"),
        ([str(tmp_path / "human")], [], "the human texts only"),
    ]:
        with pytest.raises(TextsError, match=expected):
            collect(paths, labels, NONE)


def test_arms_without_prompts_say_that_nothing_shows_what_they_are_paired_by(tmp_path: Path) -> None:
    """Their places in the files, or their ids, were taken for equal prompts without a word."""
    for name in "ab":
        (tmp_path / f"{name}.json").write_text(json.dumps([{"text": name}, {"text": f"{name} again"}]))
    fields = FieldsConfig(continuation="text")
    paths = [str(tmp_path / f"{name}.json") for name in "ab"]
    assert any(note.startswith("a, b: without prompts") for note in collect(paths, [], fields).notes)
    assert not any("without prompts" in note for note in collect(paths[:1], [], fields).notes)
