"""Plug-ins of a user's own, outside the checkout, in whole studies: sweep, resume, failures, Ray, mistakes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import cdeval, on, run_here
from tests.plugged import MINE, plugged

QUIET = ["metrics.only=[words]", "tracking=none", "plugins=[mine]"]


def token_ids(study: Path) -> list[list[list[int]]]:
    """The texts of every arm, in the order of their folders."""
    paths = sorted(study.glob("*/generations.jsonl"))
    return [[json.loads(line)["token_ids"] for line in path.read_text().splitlines()] for path in paths]


def test_a_users_methods_are_swept_resumed_and_decoded_anew_when_they_change(
    tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path
) -> None:
    """And only those of the points whose file has changed: the expert alone is kept."""
    (tmp_path / "mine.py").write_text(MINE)
    arguments = [
        *on(tiny_gpt2_folder, prompts_file)[:-1],
        *QUIET,
        "study=mine",
        "amateur=blurred",
        "amateur.share=0.1,0.9",
        "contrast.plausibility=near_best",
        "contrast.gap=6",
        "--multirun",
    ]
    done = cdeval(arguments, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "FLOPs unknown" in done.stderr
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


def test_an_arm_that_breaks_fails_alone(tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    arguments = [*on(tiny_gpt2_folder, prompts_file)[:-1], *QUIET, "study=broken", "controls=false"]
    done = cdeval([*arguments, "amateur=raises,nans,blurred", "--multirun"], tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "amateur=raises (" in done.stderr
    assert "raised RuntimeError: no depth 2" in done.stderr
    assert "2 failed" in done.stderr
    assert len(list((tmp_path / "runs" / "broken").glob("blurred*/generations.jsonl"))) == 1


def test_ray_workers_write_the_same_texts(tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs the extra [ray]")
    (tmp_path / "mine.py").write_text(MINE)
    arguments = [*on(tiny_gpt2_folder, prompts_file)[:-1], *QUIET, "controls=false", "amateur=blurred"]
    arguments += ["contrast.plausibility=near_best"]
    for study in ("study=here", "study=there"):
        more = ["execution=ray", "execution.workers=1"] if study == "study=there" else []
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
    ("typed", "message"),
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
        (["plugins=[broken]"], "plugins=[broken] cannot be imported ({}/broken.py:2): ZeroDivisionError"),
    ],
)
@pytest.mark.usefixtures("mine")
def test_mistakes_are_named_like_those_of_our_own_settings(  # noqa: PLR0917
    typed: list[str],
    message: str,
    tiny_gpt2_folder: Path,
    prompts_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "broken.py").write_text("one = 1\none / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    arguments = [*on(tiny_gpt2_folder, prompts_file)[:-1], *typed]
    code, _, said = run_here(arguments, tmp_path, monkeypatch, capsys)
    assert code == 2
    assert message.format(tmp_path) in said
