"""A study's outputs show all its finished points, whichever command made them; what is known is not made again."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdeval.metrics import suite
from cdeval.metrics.scorefile import SCORES
from cdeval.report.renewing import renew_comparisons
from cdeval.study import results
from tests.commands import run_here

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(
    tmp_path: Path,
    tiny_gpt2_folder: Path,
    prompts_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """One study on three prompts; the exit code and what was printed."""
    names = [f"expert.name={tiny_gpt2_folder}", "prompts=file", f"prompts.path={prompts_file}", "study=s"]
    cheap = ["cost.latency_repeats=0", "tracking=none", "search.max_new_tokens=6", "metrics.bootstrap_draws=100"]
    cheap += ["amateur.lens=norm"]

    def call(*more: str) -> tuple[int, str]:
        monkeypatch.setattr(
            "cdeval.report.publish.draw_files", lambda _chart, _folder: None
        )  # a sixth of a small study's time
        code, printed, said = run_here([*names, *cheap, *more], tmp_path, monkeypatch, capsys)
        return code, printed + said

    return call


def shown(tmp_path: Path) -> list[str]:
    rows = json.loads((tmp_path / "runs" / "s" / "shown.json").read_text())["rows"]
    return [row["label"].split(" α")[0].split(",")[0] for row in rows]


def stored(tmp_path: Path, start: str, name: str = "metrics.json") -> dict[str, Any]:
    (path,) = (tmp_path / "runs" / "s").glob(f"{start}-*/{name}")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_second_command_keeps_the_points_of_the_first(command: Command, tmp_path: Path) -> None:
    """Table, CSV, comparisons and report were the last command's alone."""
    words = ["metrics.only=[words,tokens]"]
    assert command(*words, "amateur.layer=4")[0] == 0
    first = json.loads((tmp_path / "runs" / "s" / "comparisons.json").read_text())
    code, printed = command(*words, "amateur.layer=5")
    assert code == 0
    assert shown(tmp_path) == ["early_exit k=4", "expert alone", "early_exit k=5", "human"]
    assert "k=4" in printed
    study = tmp_path / "runs" / "s"
    both = json.loads((study / "comparisons.json").read_text())
    words_of = [{one["arm"]: one["difference"] for one in found if one["metric"] == "words"} for found in (first, both)]
    assert words_of[0].items() <= words_of[1].items()
    assert {one["arm"].split(" α")[0] for one in both} == {"early_exit k=4", "early_exit k=5"}
    with (study / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4
    for name in ("table.md", "report.md", "report.html", "results.tex"):
        text = (study / name).read_text()
        assert "k=4" in text, name
        assert "k=5" in text, name
    for lost in (lambda path: path.unlink(), lambda path: path.write_text("[{")):
        lost(study / "comparisons.json")
        said: list[str] = []
        renew_comparisons(study, said.append)
        assert json.loads((study / "comparisons.json").read_text()) == both
        assert len(said) == 1
        renew_comparisons(study, said.append)
        assert len(said) == 1


def test_a_narrower_command_adds_to_the_scores_and_takes_none_away(command: Command, tmp_path: Path) -> None:
    assert command("amateur.layer=4", "metrics.only=[diversity,words]")[0] == 0
    before = stored(tmp_path, "early_exit")
    assert command("amateur.layer=4", "metrics.only=[tokens]")[0] == 0
    after = stored(tmp_path, "early_exit")
    assert set(after) == {"diversity", "words", "tokens"}
    assert {name: after[name] for name in before} == before
    assert {"diversity", "words", "tokens"} <= set(stored(tmp_path, "early_exit", "summary.json"))


def test_what_is_known_is_not_made_again(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume of many texts took as long as scoring them."""
    asked = ["amateur.layer=4", "metrics.only=[diversity,words,perplexity_expert]"]
    assert command(*asked)[0] == 0
    files = {path: path.read_bytes() for path in (tmp_path / "runs" / "s").glob("*/metrics.json")}
    made = []
    for module, name in ((suite, "_scored"), (results, "compare_kept")):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: made.append(name))
    code, printed = command(*asked)
    assert code == 0, printed
    assert made == []
    assert {path: path.read_bytes() for path in files} == files


def test_scores_of_other_texts_or_means_are_made_again(command: Command, tmp_path: Path) -> None:
    """The seed of the resamples is one of the means; so is every text."""
    asked = ["amateur.layer=4", "metrics.only=[words]"]
    assert command(*asked)[0] == 0
    (kept,) = (tmp_path / "runs" / "s").glob(f"early_exit-*/{SCORES}")
    before = kept.read_bytes()
    assert command(*asked, "metrics.confidence=0.9")[0] == 0
    assert kept.read_bytes() != before
    kept.write_bytes(b"not an archive")
    assert command(*asked)[0] == 0
    assert kept.read_bytes() == before, "a broken file is made again"
