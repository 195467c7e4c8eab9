"""The linear lens end to end on a tiny checkpoint: fitted, kept, resumed, swept, calibrated with, traced, mistyped."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cdeval.api import Search, decode, layers, trace
from cdeval.calibrate.__main__ import calibrate
from cdeval.calibrate.config import CalibrateRun, validate_calibration
from cdeval.cli import Schema, run_command, run_schema
from cdeval.config.enums import Split
from cdeval.lens.__main__ import lens
from cdeval.lens.config import LensRun, validate_lens
from cdeval.models.loading import LanguageModel
from cdeval.prompts.cut import in_split
from cdeval.run import run
from cdeval.trace.__main__ import trace as traced
from cdeval.trace.config import TraceRun, validate_trace
from tests.lens.test_linear import TEXTS

STUDY = ["search.max_new_tokens=6", "metrics.only=[diversity]", "cost.latency_repeats=0", "tracking=none"]
STUDY += ["metrics.bootstrap_draws=100", "prompts.limit=3", "prompts.prompt_tokens=8", "search.beams=2"]
LINEAR = ["amateur.lens=linear", "amateur.layer=6"]

Typed = Callable[..., tuple[str, str]]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CDEVAL_CACHE", str(tmp_path / "cache"))
    news = [text._replace(id=f"news-{place:04}") for place, text in enumerate(TEXTS * 4)]
    monkeypatch.setattr("cdeval.prompts.texts.news", lambda: news)
    monkeypatch.setattr("cdeval.prompts.texts.wiki", lambda _needed: [])  # else it is fetched into each test's cache
    return tmp_path / "cache" / "lenses"


@pytest.fixture
def arguments(tmp_path: Path, tiny_gpt2_folder: Path, cache: Path) -> list[str]:
    return [f"expert.name={tiny_gpt2_folder}", "expert.dtype=float32", f"runs={tmp_path / 'runs'}"]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """A command in this process: what it prints, and what it says meanwhile."""
    schemas = {
        "lens": (lens, Schema(LensRun, validate_lens)),
        "calibrate": (calibrate, Schema(CalibrateRun, validate_calibration)),
        "trace": (traced, Schema(TraceRun, validate_trace)),
    }

    def type_in(arguments: Sequence[str], command: str = "run") -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", [f"cdeval.{command}", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        if command == "run":
            run_command(run)
        else:
            run_schema(*schemas[command], command)
        printed = capsys.readouterr()
        return printed.out, printed.err

    return type_in


def points(study: Path) -> dict[str, float]:
    return {path.parent.name: path.stat().st_mtime for path in study.glob("*/generations.jsonl")}


@pytest.mark.long
def test_a_sweep_is_fitted_once_kept_and_resumed(
    arguments: list[str], typed: Typed, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--multirun", *arguments, *STUDY, "study=swept", "amateur.lens=linear", "amateur.layer=4,0.5"]
    printed, said = typed(command)
    assert "exit k=4 linear lens" in printed
    assert said.count("fitting the linear lens of layer 4,6 on ") == 1
    study = tmp_path / "runs" / "swept"
    (arm,) = study.glob("early_exit-k4*")
    found = json.loads((arm / "provenance.json").read_text())["models"]["lens"]
    assert found["texts"] == "news_wiki (split tune)"
    assert [path.parent.name for path in cache.glob("*/layer.4.safetensors")] == [found["digest"]]
    prompts = [json.loads(line)["id"] for line in (arm / "generations.jsonl").read_text().splitlines()]
    assert not set(prompts) & set(json.loads(found["text_ids"]))

    before = points(study)
    assert "fitting" not in typed(command)[1]
    margins, _ = typed([*arguments, f"study={study}", "text_tokens=20", "prompts.split=test"], "lens")
    assert "linear" in margins
    shutil.rmtree(cache)  # another machine, or a tidy user
    with pytest.raises(SystemExit):
        typed([*arguments, f"study={study}", "text_tokens=20", "prompts.split=test"], "lens")
    assert "no longer in the cache: give the study's own command again" in " ".join(capsys.readouterr().err.split())
    assert "fitting the linear lens of layer 4,6 on " in typed(command)[1]
    assert points(study) == before, "texts are known by what the lens is fitted to"


def test_prompts_without_another_split_have_a_lens_of_the_embedded_texts(
    arguments: list[str], typed: Typed, tmp_path: Path
) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text("\n".join(json.dumps(text._asdict()) for text in TEXTS))
    _, said = typed([*arguments, *STUDY, *LINEAR, "study=own", "prompts=file", f"prompts.path={own}"])
    assert "from news_wiki (split tune)" in said
    (arm,) = (tmp_path / "runs" / "own").glob("early_exit-k6*")
    read = json.loads(json.loads((arm / "provenance.json").read_text())["models"]["lens"]["text_ids"])
    assert read
    assert all(in_split(name, Split.tune) for name in read)


def test_exits_of_the_expert_are_read_through_it_too(arguments: list[str], typed: Typed, tmp_path: Path) -> None:
    exits = ["search.adaptive_exit.layers=[6,9]", "search.adaptive_exit.lens=linear", "search.max_new_tokens=6"]
    exits += ["prompts.prompt_tokens=8"]
    printed, said = typed([*arguments, *exits, "thresholds=[1,0.2]", "tolerance=0.9", "level=0.5"], "calibrate")
    assert "fitting the linear lens of layer 6,9 on " in said
    assert "search.adaptive_exit.lens=linear" in printed
    more = ["search=calm", "amateur=none", "study=calm", "search.adaptive_exit.threshold=0.2", "notes=all"]
    short = [one for one in STUDY if not one.startswith("search.beams")]
    printed, said = typed([*arguments, *short, *exits, *more])
    assert "λ=.2 linear lens, greedy" in printed
    (arm,) = (tmp_path / "runs" / "calm").glob("CALM*")
    record = json.loads((arm / "provenance.json").read_text())
    assert sorted(json.loads(record["models"]["exit_lens"]["translators"])) == ["6", "9"]
    costs = json.loads((arm / "costs.json").read_text())
    typed([*arguments, *short, *exits[:1], *exits[2:], *more])
    (plain,) = (path for path in (tmp_path / "runs" / "calm").glob("CALM*") if path != arm)
    assert "exit_lens" not in json.loads((plain / "provenance.json").read_text())["models"]
    assert costs != json.loads((plain / "costs.json").read_text())


def test_a_prompt_is_traced_through_it(arguments: list[str], typed: Typed, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    _, said = typed([*arguments, *LINEAR, "prompt=The old river", "search.max_new_tokens=4", f"out={out}"], "trace")
    assert "fitting the linear lens of layer 6 on " in said
    assert "linear lens" in out.read_text()
    of_study, _ = typed([*arguments, *STUDY, *LINEAR, "study=same", "notes=all"])
    assert "early_exit k=6 linear lens" in of_study
    named = [*arguments, *LINEAR, "id=news-0001", "search.max_new_tokens=4", "prompts.prompt_tokens=8", f"out={out}"]
    assert in_split("news-0001", Split.test)
    assert "fitting" not in typed(named, "trace")[1], "a prompt of a study is traced through the lens of that study"


def test_from_python(tiny: Callable[[str], LanguageModel], cache: Path) -> None:
    lm, search = tiny("llama"), Search(max_new_tokens=5, beams=2)
    (found,) = decode(lm, ["The old river"], amateur=2, lens="linear", search=search)
    assert trace(lm, "The old river", amateur=2, lens="linear", search=search).continuation == found.continuation
    assert len(list(cache.glob("*/*"))) == 1
    looked = layers(lm, "The old river", lens="linear")
    assert looked.layers == (1, 2, 3, 4)
    assert looked.lens == "linear"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["amateur.lens_file=a.safetensors"], "amateur.lens_file=a.safetensors is not read with amateur.lens=linear"),
        (
            ["amateur.lens=norm", "amateur.lens_texts=a.jsonl"],
            "add amateur.lens=linear, or leave amateur.lens_texts out",
        ),
        (["prompts.split=all"], "prompts=news: with prompts.split=all every text may be a prompt"),
        (["amateur.lens_texts={few}"], "positions, and its blocks are 32 wide: at least 128 positions are wanted"),
        (["amateur.lens_texts=nowhere.jsonl"], "nowhere.jsonl"),
        (["search=calm", "search.adaptive_exit.lens=raw"], "search.adaptive_exit.lens=raw: the expert's own exits are"),
        (["search.adaptive_exit.lens=linear"], "add search.adaptive_exit.threshold=0.9"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str],
    typed: Typed,
    tmp_path: Path,
    more: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own, few = tmp_path / "own.jsonl", tmp_path / "few.jsonl"
    own.write_text("\n".join(json.dumps(text._asdict()) for text in TEXTS))
    few.write_text(json.dumps({"id": "few", "text": "the fox " * 20}))
    given = [one.format(own=own, few=few) for one in more]
    beams = [one for one in STUDY if not (one.startswith("search.beams") and "search=calm" in more)]
    with pytest.raises(SystemExit) as stop:
        typed([*arguments, *beams, *LINEAR, *given])
    assert stop.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
