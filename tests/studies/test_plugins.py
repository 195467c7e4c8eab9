"""Plug-ins of a user's own, outside the checkout, in whole studies: sweep, resume, failures, Ray, mistakes."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdeval.store.private import masked
from tests.commands import cdeval, on, run_here, typed
from tests.plugged import MINE, plugged

METRIC = """
from cdeval import metric


@metric("word_length", label="word length", unit="letters", better="human", digits=2)
def word_length(text):
    return len(text) / (1 + text.count(" "))
"""
QUIET = ["metrics.only=[words]", "tracking=none", "plugins=[mine]"]


def token_ids(study: Path) -> list[list[list[int]]]:
    """The texts of every arm, in the order of their folders."""
    paths = sorted(study.glob("*/generations.jsonl"))
    return [[json.loads(line)["token_ids"] for line in path.read_text().splitlines()] for path in paths]


@pytest.mark.long
def test_a_users_methods_are_swept_resumed_and_decoded_anew_when_they_change(
    tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path
) -> None:
    """And only those of the points whose file has changed: the expert alone is kept."""
    (tmp_path / "mine.py").write_text(MINE)
    arguments = [
        *on(tiny_gpt2_folder, prompts_file)[:-2],
        *QUIET,
        "study=mine",
        "amateur=blurred",
        "amateur.share=0.1,0.9",
        "contrast.plausibility=near_best",
        "contrast.gap=6",
        "notes=all",
        "--multirun",
    ]
    done = cdeval(arguments, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "FLOPs unknown" in " ".join(done.stdout.split())
    study = tmp_path / "runs" / "mine"
    first = {path.parent.name for path in study.glob("*/generations.jsonl")}
    assert len(first) == 4, "two arms, their control and the human reference"
    for share in ("0.1", "0.9"):
        (folder,) = study.glob(f"blurred-share-{share}*")
        assert "plausibility: near_best" in (folder / "config.yaml").read_text()
        assert f"share: {share}" in (folder / "config.yaml").read_text()
        assert f"blurred share={share} near_best gap=6" in (study / "report.html").read_text()
    again = cdeval(arguments, tmp_path)
    assert "9 continuations are already stored and are reused" in again.stderr
    (tmp_path / "mine.py").write_text(MINE + "\n# changed\n")
    anew = cdeval(arguments, tmp_path)
    assert anew.returncode == 0, anew.stderr
    assert "3 continuations are already stored and are reused" in anew.stderr
    assert len({path.parent.name for path in study.glob("*/generations.jsonl")}) == 6


@pytest.mark.long
def test_a_study_is_read_without_the_plug_ins_that_made_it(
    tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path
) -> None:
    """The metric's label, unit and direction are stored beside its numbers, so that the same page comes out."""
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "methods.py").write_text(MINE)
    (tmp_path / "my" / "metric.py").write_text(METRIC)
    arguments = [*on(tiny_gpt2_folder, prompts_file)[:-2], "metrics.only=[words,word_length]", "tracking=none"]
    arguments += ["study=mine", "amateur=blurred", "contrast.plausibility=near_best", "controls=false"]
    methods, metric = (tmp_path / "my" / f"{name}.py" for name in ("methods", "metric"))
    done = cdeval([*arguments, "plugins=[my/methods.py,my/metric.py]"], tmp_path)
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "runs" / "mine").glob("*/provenance.json")
    found = json.loads(record.read_text())["plugins"]
    assert [one["name"] for one in found] == [masked(str(methods)), masked(str(metric))]
    assert found[1]["sha256"] == hashlib.sha256(METRIC.encode()).hexdigest()
    assert found[1]["offers"] == ["metrics.only=[word_length]"]

    csv, page = (tmp_path / "runs" / "mine" / name for name in ("results.csv", "report.html"))
    written, drawn = csv.read_text(), page.read_text()
    assert "word length" in drawn
    for more in ([], [f"plugins=[{metric}]"]):
        reported = typed("cdeval.report", ["study=runs/mine", *more], tmp_path)
        assert reported.returncode == 0, reported.stderr
        assert page.read_text() == drawn
        assert csv.read_text() == written
    compared = typed("cdeval.compare", ["studies=[runs/mine,runs/mine]"], tmp_path)
    assert "the same study: 3 texts" in compared.stdout
    merged = typed("cdeval.merge", ["studies=runs/mine", "into=all"], tmp_path)
    line = "for amateur=blurred, amateur=itself"
    assert line in merged.stdout.replace("\n", " "), merged.stdout + merged.stderr
    assert json.loads(next((tmp_path / "all").glob("*/provenance.json")).read_text())["plugins"] == found

    # Another setting joins the study without them: the numbers of the first stay.
    more = cdeval([*arguments[:-4], "metrics.only=[words]", "study=mine", "amateur=none"], tmp_path)
    assert more.returncode == 0, more.stderr
    assert csv.read_text().splitlines()[0] == written.splitlines()[0]
    assert "word length" in page.read_text()


@pytest.mark.long
def test_a_metric_that_breaks_costs_its_own_numbers_and_the_exit_code(
    tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path
) -> None:
    """Everything else is written; its NaN is no score that is kept, so the same command tries again."""
    mine = tmp_path / "mine.py"
    mine.write_text(METRIC.replace("return ", "return 1 / 0 + "))
    run = [*on(tiny_gpt2_folder, prompts_file), "metrics.only=[words,word_length]", "tracking=none"]
    run += ["controls=false", "study=mine", "plugins=[mine.py]"]
    score = ["generations=runs/mine", "metrics.only=[words,word_length]", "out=scores", "plugins=[mine.py]"]
    for command, arguments, folder in (("cdeval.run", run, "runs/mine"), ("cdeval.score", score, "scores")):
        broken = typed(command, arguments, tmp_path)
        assert broken.returncode == 2, broken.stderr
        assert "Traceback" not in broken.stderr
        assert f"error: the metric word_length ({mine}:5) has no score of 'early_exit" in broken.stderr
        assert f"ZeroDivisionError: division by zero ({mine}:7)" in broken.stderr
        assert "no value" in (tmp_path / folder / "table.md").read_text()
        (found,) = (tmp_path / folder).glob("early*/summary.json")
        assert json.loads(found.read_text())["words"] > 0
        assert json.loads(found.read_text())["word_length"] is None
    mine.write_text(METRIC)
    done = cdeval(run, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 continuations are already stored and are reused" in done.stderr
    (found,) = (tmp_path / "runs" / "mine").glob("early*/summary.json")
    assert json.loads(found.read_text())["word_length"] > 0


@pytest.mark.long
def test_an_arm_that_breaks_fails_alone(tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    arguments = [*on(tiny_gpt2_folder, prompts_file)[:-2], *QUIET, "study=broken", "controls=false"]
    done = cdeval([*arguments, "amateur=raises,nans,blurred", "--multirun"], tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "amateur=raises (" in done.stderr
    assert "raised RuntimeError: no depth 2" in done.stderr
    assert "2 failed" in done.stderr
    assert len(list((tmp_path / "runs" / "broken").glob("blurred*/generations.jsonl"))) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("needs", "elsewhere"),
    [
        ("ray", ["execution=ray", "execution.workers=1"]),
        ("hydra_plugins.hydra_joblib_launcher", ["hydra/launcher=joblib", "amateur.share=0.1,0.1", "--multirun"]),
    ],
    ids=["ray", "joblib"],
)
def test_other_processes_write_the_same_texts(
    needs: str, elsewhere: list[str], tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip(needs, reason="needs the extra [ray] or [launchers]")
    (tmp_path / "mine.py").write_text(MINE)
    arguments = [*on(tiny_gpt2_folder, prompts_file)[:-2], *QUIET[:-1], "controls=false", "amateur=blurred"]
    arguments += ["contrast.plausibility=near_best", "plugins=[mine.py]"]
    for study in ("study=here", "study=there"):
        more = elsewhere if study == "study=there" else []
        done = cdeval([*arguments, study, *more], tmp_path)
        assert done.returncode == 0, done.stderr
    here, there = (token_ids(tmp_path / "runs" / name) for name in ("here", "there"))
    assert len(here) == 1
    assert here == there


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Path]:
    with plugged(tmp_path) as path:
        yield path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["amateur=blurred", "amateur.shar=1"], "unknown setting 'amateur.shar'"),
        (["amateur=blurred", "amateur.shar=1"], "Did you mean 'share'?"),
        (["amateur=blurred", "amateur.share=1.5"], "amateur.share=1.5 is out of range: expected a number in [0, 1]"),
        (["amateur=blurred", "amateur.share=much"], "amateur.share=much"),
        (["amateur=early_exit", "amateur.share=0.2"], "not read with amateur=early_exit: add amateur=blurred"),
        (["amateur=blurred", "contrast.gap=3"], "add contrast.plausibility=near_best, or leave contrast.gap out"),
        (
            ["contrast.plausibility=near_bst"],
            "contrast.plausibility=near_bst: there is none of that name. Did you mean 'n",
        ),
        (
            ["contrast.plausibility=near_best", "contrast.alpha=0.2"],
            "contrast.alpha=0.2 is not read with contrast.plausibility=near_best",
        ),
        (["amateur.kind=blured"], "amateur=blured: there is none of that name. Did you mean 'blurred'?"),
        (["plugins=[no_such_module]"], "plugins=[no_such_module]: there is no module no_such_module"),
        (["+preset=mine", "--config-dir=own"], "plugins=[mine] stands in a file of settings, which is read too late"),
        (["plugins=[broken]"], "plugins=[broken] cannot be imported ({}/broken.py:2): ZeroDivisionError"),
    ],
)
@pytest.mark.usefixtures("mine")
def test_mistakes_are_named_like_those_of_our_own_settings(  # noqa: PLR0917
    given: list[str],
    message: str,
    tiny_gpt2_folder: Path,
    prompts_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "broken.py").write_text("one = 1\none / 0\n")
    (tmp_path / "own" / "preset").mkdir(parents=True)
    (tmp_path / "own" / "preset" / "mine.yaml").write_text("# @package _global_\nplugins: [mine]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    arguments = [*on(tiny_gpt2_folder, prompts_file)[:-2], *given]
    code, _, said = run_here(arguments, tmp_path, monkeypatch, capsys)
    assert code == 2
    assert message.format(tmp_path) in said
