"""`python -m cdeval.judge` as a user types it: metrics and a model against people, and two arms by the model."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cdeval.errors import ModelError
from cdeval.judge.asking import JudgeAnswer
from cdeval.judge.language_model import LanguageModelJudge
from tests.conftest import build_model, build_tokenizer
from tests.judge.pairs import pairs, write_pairs

Typed = Callable[[str, Sequence[str]], str]
QUICK = ["metrics.bootstrap_draws=100"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the pairs of people, and the texts of both arms."""
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "pairs.json")
    for arm in ("dull", "lively"):
        items = [
            {"id": pair["id"], "prompt": pair["prompt"], "continuation": side["text"].removeprefix(pair["prompt"])}
            for pair in pairs()
            for side in (pair["a"], pair["b"])
            if side["arm"] == arm
        ]
        (tmp_path / f"{arm}.json").write_text(json.dumps(items))
    return tmp_path


@pytest.fixture(scope="module")
def lettered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose tokenizer has the letters of the answers."""
    folder = tmp_path_factory.mktemp("lettered")
    build_model("gpt2", n_positions=1024).save_pretrained(folder)
    build_tokenizer("B", "C").save_pretrained(folder)
    return folder


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "runs" / "judge" / "judge.json").read_text())
    return found


def test_metrics_are_compared_with_people(here: Path, typed: Typed) -> None:
    """Naively: the share of decided pairs of which the metric prefers what more people prefer."""
    names = "words,diversity,rep_2,compression_ratio,self_repetition,distinct_samples"
    printed = typed("judge", ["judge.by=none", "calibration.path=pairs.json", f"metrics.only=[{names}]", *QUICK])
    found = {one["name"]: one for one in record(here)["metrics"]}
    right, decided = 0, 0
    for pair in pairs():
        votes = pair["votes"]
        lead = votes.count("a") - votes.count("b")
        if lead:
            decided += 1
            right += (pair["a"]["arm"] == "lively") == (lead > 0)
    assert found["diversity"]["found"]["value"] == pytest.approx(right / decided)
    assert found["diversity"]["found"]["n"] == decided == 36
    assert found["rep-2"]["prefers"] == "less"
    assert found["rep-2"]["found"]["value"] == pytest.approx(right / decided)
    assert found["compression ratio"]["against_chance"] == "better"
    assert "words" not in found, "all texts have eight words"
    for said in ("always lively", "one person with the others", "36", "say nothing of a single text"):
        assert said in printed
    assert "self repetition" in printed.partition("say nothing of a single text")[2]


def test_a_judge_no_better_than_chance_says_so_and_goes_on_where_it_stopped(
    here: Path, lettered: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A random model: its judgements come from disk the second time, whatever stopped the first."""
    given = ["calibration.path=pairs.json", "calibration.metrics=false", f"expert.name={lettered}", "expert.device=cpu"]
    given += ["generations=[lively.json,dull.json]", "limit=10", *QUICK]
    real, asked = LanguageModelJudge.ask, []

    def counted(self: LanguageModelJudge, *texts: str) -> JudgeAnswer:
        if len(asked) == 30:
            asked.append(texts)
            raise ModelError("the machine went away")
        asked.append(texts)
        return real(self, *texts)

    monkeypatch.setattr(LanguageModelJudge, "ask", counted)
    with pytest.raises(SystemExit):
        typed("judge", given)
    assert "the machine went away" in capsys.readouterr().err
    printed = typed("judge", given)
    assert len(asked) == 31 + 80 - 30, "20 questions on arms are those on the same pairs of people"
    assert typed("judge", given).partition("results")[0] == printed.partition("results")[0]
    assert len(asked) == 81, "nothing is asked a third time"

    found = record(here)
    assert found["calibrated"]["found"]["n"] == 36
    assert "agrees with people on" in printed
    assert ("no better than chance" in printed) == (found["calibrated"]["against_chance"] == "no better")
    (arm,) = found["arms"]
    assert (arm["arm"], arm["against"]) == ("dull", "lively")
    assert arm["win"] + arm["tie"] + arm["loss"] == pytest.approx(1)
    lines = [json.loads(line) for line in (here / "runs" / "judge" / "judgements.jsonl").read_text().splitlines()]
    assert [one["of"] for one in lines] == ["people"] * 40 + ["dull and lively"] * 10
    mean = sum(one["preference"] for one in lines[40:]) / 10
    assert arm["preference"]["value"] == pytest.approx(mean)
    assert found["habits"]["flops"] > 0
    assert "GFLOPs" in printed
    assert "| dull over lively |" in (here / "runs" / "judge" / "table.md").read_text()


def test_a_judge_that_nobody_compared_with_people_says_so(here: Path, lettered: Path, typed: Typed) -> None:
    printed = typed("judge", [f"expert.name={lettered}", "generations=[lively.json,dull.json]", "limit=3", *QUICK])
    assert "was not compared with people" in printed


def test_mistakes_that_the_texts_show(here: Path, refused: Callable[[str, Sequence[str]], str]) -> None:
    assert "holds the texts of one arm" in refused("judge", ["generations=lively.json"])
    said = refused("judge", ["generations=[lively.json,dull.json]", "against=livly"])
    assert "Did you mean 'lively'?" in said
