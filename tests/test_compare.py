"""Two studies held against each other: what counts as the same, and what does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from cdeval.compare import MEASURED, CompareRun, compare, read_record, record_of, validate_compare, write_record
from cdeval.errors import ConfigError, StorageError
from cdeval.report.studyfiles import read_study
from tests.commands import typed
from tests.report.studies import write_study

EXIT = "early_exit k=4 α=0.1 β=1 T=1, beam 5"


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return write_study(tmp_path / "one")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return write_study(tmp_path / "elsewhere" / "other")


def test_the_same_study_in_another_folder(one: Path, other: Path) -> None:
    found = compare(read_record(one), read_record(other))
    assert [arm.label for arm in found] == [arm.label for arm in read_study(one).arms]
    assert all(arm.same and arm.furthest is None for arm in found)
    assert {arm.texts for arm in found} == {3}
    assert min(arm.numbers for arm in found) > 2


def test_timings_are_left_aside_and_nothing_else(one: Path, other: Path) -> None:
    changed(other / "exit-4" / "summary.json", decode_seconds_per_token=9.0, latency_overhead=9.0, memory_bytes=9.0)
    assert all(arm.same for arm in compare(read_record(one), read_record(other)))
    changed(other / "exit-4" / "summary.json", flops_per_token=1.1e9)
    (arm,) = [arm for arm in compare(read_record(one), read_record(other)) if not arm.same]
    assert arm.label == EXIT
    assert (arm.numbers - arm.same_numbers, arm.same_texts) == (1, 3)
    assert arm.furthest == ("flops_per_token", pytest.approx(0.1 / 1.1))


@pytest.mark.parametrize("name", ["diversity", "flops_overhead", "bytes_per_token", "kv_live_bytes", "texts"])
def test_what_the_texts_decide_is_compared(name: str) -> None:
    assert not MEASURED.match(name)


def test_one_letter_is_another_text(one: Path, other: Path) -> None:
    path = other / "exit-4" / "generations.jsonl"
    path.write_text(path.read_text().replace("one two three", "one two thre", 1))
    (arm,) = [arm for arm in compare(read_record(one), read_record(other)) if not arm.same]
    assert (arm.label, arm.same_texts, arm.texts) == (EXIT, 2, 3)


def test_a_comparison_is_part_of_the_tables(one: Path, other: Path) -> None:
    path = other / "comparisons.json"
    page = json.loads(path.read_text())
    page[0]["p_holm"] = 0.5
    path.write_text(json.dumps(page))
    (arm,) = [arm for arm in compare(read_record(one), read_record(other)) if not arm.same]
    assert arm.furthest == ("diversity less that of expert alone, beam 5 p (Holm)", pytest.approx(0.98))


def test_an_arm_or_a_text_that_is_missing_is_a_difference(tmp_path: Path, one: Path) -> None:
    smaller = write_study(tmp_path / "smaller", layers=(4,))
    for pair in ((one, smaller), (smaller, one)):
        lacking = [arm for arm in compare(*map(read_record, pair)) if arm.label.startswith("early_exit k=8")]
        assert [(arm.same_texts, arm.texts) for arm in lacking] == [(0, 3)]
    lines = (one / "human" / "generations.jsonl").read_text().splitlines()
    other = write_study(tmp_path / "other")
    (other / "human" / "generations.jsonl").write_text("\n".join(lines[:2]) + "\n")
    assert [arm.label for arm in compare(read_record(one), read_record(other)) if not arm.same] == ["human"]


def test_a_record_stands_for_its_study(tmp_path: Path, one: Path) -> None:
    write_record(record_of(read_study(one)), tmp_path / "one.json")
    record = read_record(tmp_path / "one.json")
    assert all(arm.same and arm.texts == 3 for arm in compare(read_record(one), record))
    assert "one two three" not in (tmp_path / "one.json").read_text(), "a record holds digests, not texts"
    assert record == read_record(one)


@pytest.mark.parametrize("content", ["[", "[]", '{"format": 2}', '{"format": 1, "arms": {"a": {}}}'])
def test_what_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(content)
    with pytest.raises(StorageError, match=r"wrong\.json is neither a study's folder"):
        read_record(path)
    with pytest.raises(StorageError, match="no such file or folder"):
        read_record(tmp_path / "nowhere")


def test_the_command_says_so_and_its_exit_code_does(tmp_path: Path, one: Path, other: Path) -> None:
    def compare(*arguments: str) -> tuple[int, str]:
        done = typed("cdeval.compare", arguments, tmp_path)
        return done.returncode, done.stdout + done.stderr

    assert compare("studies=one", "record=published.json")[0] == 0
    code, said = compare("studies=[elsewhere/other,published.json]")
    assert code == 0, said
    assert "the same study: 12 texts" in said
    changed(other / "exit-4" / "summary.json", diversity=0.1)
    code, said = compare("studies=[elsewhere/other,published.json]")
    assert code == 1, said
    assert "they differ: 12 of 12 texts" in said
    assert "diversity: 80.0%" in said
    code, said = compare("studies=[one,nothing]")
    assert code == 2
    assert "error: nothing: there is no such file or folder" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "config",
    [
        CompareRun(),
        CompareRun([]),
        CompareRun("runs/a"),
        CompareRun(["a", "b", "c"]),
        CompareRun([1, 2]),
        CompareRun("a", "b.txt"),
    ],
)
def test_a_mistake_is_named(config: CompareRun) -> None:
    with pytest.raises(ConfigError, match=r"(studies|record)=.*expected"):
        validate_compare(config)
