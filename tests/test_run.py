"""The command, end to end on a tiny checkpoint: as a user types it, and as a user mistypes it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from cdeval.choices import Context, Pool, TemperatureForm
from cdeval.cli import CONF, run_command
from cdeval.config import RunConfig
from cdeval.run import run

TEXTS = [
    "The quick brown fox jumps over the lazy dog and runs into the forest near the old river. " * 3,
    "Researchers said on Monday that the results of the study were not yet clear to them at all. " * 3,
    "A small model writes what a large model would rather not say, and that is the whole point. " * 3,
]
SMALL = ["search.max_new_tokens=8", "metrics.bootstrap_draws=100", "cost.latency_repeats=1", "amateur.layer=6"]


@pytest.fixture(scope="session")
def prompts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"id": f"text-{i}", "text": text}) for i, text in enumerate(TEXTS)))
    return path


def mistyped(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The one message that a mistake gets; in this process, since each new one imports torch first."""
    monkeypatch.setattr(sys, "argv", ["cdeval.run", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_command(run)
    printed = capsys.readouterr().err
    assert stopped.value.code == 2, printed
    assert "Traceback" not in printed
    (message,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    return message


def cdeval(arguments: Sequence[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m cdeval.run` in a folder of its own, with every warning shown."""
    return subprocess.run(
        [sys.executable, "-m", "cdeval.run", *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def on(folder: Path, prompts: Path, *more: str) -> list[str]:
    return [f"expert.name={folder}", "prompts=file", f"prompts.path={prompts}", *SMALL, *more]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2_folder: Path, prompts_file: Path) -> tuple[Path, str]:
    """One finished study and what it printed."""
    cwd = tmp_path_factory.mktemp("study")
    done = cdeval(on(tiny_gpt2_folder, prompts_file, "study=first"), cwd)
    assert done.returncode == 0, done.stderr
    return cwd / "runs" / "first", done.stdout


def folders(study: Path) -> dict[str, Path]:
    found = (path for path in study.iterdir() if path.is_dir() and not path.name.startswith("."))
    return {path.name.split("-")[0]: path for path in found}


def test_every_row_has_a_complete_run_folder(finished: tuple[Path, str]) -> None:
    study, _ = finished
    rows = folders(study)
    assert set(rows) == {"early_exit", "expert", "human"}
    for row in rows.values():
        names = {path.name for path in row.iterdir()}
        files = {"config.yaml", "provenance.json", "generations.jsonl", "metrics.json", "costs.json", "summary.json"}
        assert files <= names
        settings = yaml.safe_load((row / "config.yaml").read_text())
        assert (settings["amateur"]["kind"], settings["amateur"]["layer"]) == ("early_exit", 6)
        amateur = {"early_exit": "early_exit", "expert": "none", "human": None}[row.name.split("-")[0]]
        own = settings["point"]["setting"]
        assert (own and own["amateur"]["kind"]) == amateur


def test_every_text_has_exactly_the_tokens_asked_for(finished: tuple[Path, str]) -> None:
    study, _ = finished
    for row in folders(study).values():
        lines = [json.loads(line) for line in (row / "generations.jsonl").read_text().splitlines()]
        assert [line["id"] for line in lines] == ["text-0", "text-1", "text-2"]
        assert all(len(line["token_ids"]) == 8 and len(line["prompt_token_ids"]) == 32 for line in lines)


def test_the_table_shows_what_the_files_say(finished: tuple[Path, str]) -> None:
    study, printed = finished
    for name, row in folders(study).items():
        summary = json.loads((row / "summary.json").read_text())
        assert summary["texts"] == 3
        assert f"{summary['coherence']:.3f}".lstrip("0") in printed
        assert (summary.get("total_flops") is None) == (name == "human")
    arm = json.loads((folders(study)["early_exit"] / "summary.json").read_text())
    assert arm["flops_overhead"] == arm["amateur_flops"] / (arm["expert_prefill_flops"] + arm["expert_decode_flops"])
    assert arm["flops_overhead"] > 0
    assert json.loads((folders(study)["expert"] / "summary.json").read_text())["flops_overhead"] == 0


def test_nothing_is_left_outside_the_study(finished: tuple[Path, str]) -> None:
    study, _ = finished
    assert [path.name for path in study.parent.parent.iterdir()] == ["runs"]


def test_an_interrupted_study_continues_and_reuses_its_texts(
    finished: tuple[Path, str], tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    """A torn last line costs that text alone; the others are reused (one is marked here, to be recognised)."""
    study, _ = finished
    shutil.copytree(study, tmp_path / "runs" / "first")
    arm = folders(tmp_path / "runs" / "first")["early_exit"]
    whole = (arm / "generations.jsonl").read_text().splitlines(keepends=True)
    marked = {**json.loads(whole[0]), "continuation": " a marked text"}
    (arm / "generations.jsonl").write_text(json.dumps(marked) + "\n" + whole[1] + whole[2][:40])
    (arm / "summary.json").unlink()
    again = cdeval(on(tiny_gpt2_folder, prompts_file, "study=first"), tmp_path)
    assert again.returncode == 0, again.stderr
    assert "reused" in again.stderr
    now = (arm / "generations.jsonl").read_text().splitlines(keepends=True)
    assert json.loads(now[0])["continuation"] == " a marked text"
    assert [json.loads(line) for line in now[1:]] == [json.loads(line) for line in whole[1:]]
    assert (arm / "summary.json").exists()


def test_several_samples_are_stored_scored_and_resumed(
    tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    """Half of the lines are lost, of the rest some prompts lack their first sample: the same texts come back."""
    more = ["study=drawn", "tracking=none", "search=nucleus", "search.samples=3", "cost.latency_repeats=1"]
    done = cdeval(on(tiny_gpt2_folder, prompts_file, *more), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nucleus p=.95 ×3" in done.stdout
    assert "3 samples a prompt, one unit of the intervals" in done.stdout
    rows = folders(tmp_path / "runs" / "drawn")
    lines = {}
    for name in ("early_exit", "expert"):
        file = rows[name] / "generations.jsonl"
        lines[name] = file.read_text().splitlines()
        texts = [json.loads(line) for line in lines[name]]
        assert sorted((text["id"], text["sample"]) for text in texts) == [
            (f"text-{i}", s) for i in range(3) for s in range(3)
        ]
        for prompt in ("text-0", "text-1", "text-2"):
            assert len({tuple(text["token_ids"]) for text in texts if text["id"] == prompt}) == 3
        summary = json.loads((rows[name] / "summary.json").read_text())
        assert summary["texts"] == 9
        assert summary["decode_seconds_per_token"] > 0
        file.write_text("".join(line + "\n" for line in lines[name][1::2]))
    assert len((rows["human"] / "generations.jsonl").read_text().splitlines()) == 3
    again = cdeval(on(tiny_gpt2_folder, prompts_file, *more, "execution.max_lanes=2"), tmp_path)
    assert again.returncode == 0, again.stderr
    assert "8 continuations are already stored" in again.stderr
    for name, before in lines.items():
        now = (rows[name] / "generations.jsonl").read_text().splitlines()
        assert now[:4] == before[1::2]
        drawn = [{text: line[text] for text in ("id", "sample", "token_ids")} for line in map(json.loads, sorted(now))]
        assert drawn == [{text: line[text] for text in drawn[0]} for line in map(json.loads, sorted(before))]


def test_contrastive_search_is_a_baseline_of_its_own(
    tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    more = ["study=su", "tracking=none", "search=contrastive_search", "amateur=none"]
    done = cdeval([word for word in on(tiny_gpt2_folder, prompts_file, *more) if "amateur.layer" not in word], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "contrastive search k=5 α=.6" in done.stdout
    (arm,) = (path for path in (tmp_path / "runs" / "su").iterdir() if path.name.startswith("expert"))
    assert all(len(json.loads(line)["token_ids"]) == 8 for line in (arm / "generations.jsonl").read_text().splitlines())
    assert json.loads((arm / "summary.json").read_text())["flops_overhead"] == 0


def test_whole_prompts_of_several_lengths_keep_their_ids(tmp_path: Path, tiny_gpt2_folder: Path) -> None:
    items = [
        {"id": "short", "prompt": "The quick brown", "reference": " fox jumps over the lazy dog and runs"},
        {"id": "long", "prompt": "Researchers said on Monday that", "reference": " the results of the study were"},
        {"id": "bare", "prompt": "A small model writes"},
    ]
    (tmp_path / "p.json").write_text(json.dumps(items))
    more = ["study=mixed", "tracking=none", "search=greedy", "search.max_new_tokens=5", "cost.latency_repeats=0"]
    done = cdeval(on(tiny_gpt2_folder, tmp_path / "p.json", *more), tmp_path)
    assert done.returncode == 0, done.stderr
    rows = folders(tmp_path / "runs" / "mixed")
    lines = [json.loads(line) for line in (rows["early_exit"] / "generations.jsonl").read_text().splitlines()]
    assert {line["id"]: line["prompt"] for line in lines} == {item["id"]: item["prompt"] for item in items}
    assert {line["id"] for line in map(json.loads, (rows["human"] / "generations.jsonl").read_text().splitlines())} == {
        "short",
        "long",
    }


def test_the_gpt2_preset_runs_on_a_checkpoint(tmp_path: Path, tiny_gpt2_folder: Path) -> None:
    """What the workflow runs on gpt2 small from the hub, here on a folder; its prompts come from the package index."""
    done = cdeval(["+preset=smoke_gpt2", f"expert.name={tiny_gpt2_folder}", "prompts.prompt_tokens=8"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "early_exit k=10" in done.stdout


def test_a_sweep_runs_every_point_and_names_the_one_that_fails(
    tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    more = ["amateur.layer=4,12,5", "tracking=none", "cost.latency_repeats=0", "study=sweep"]
    done = cdeval(["--multirun", *on(tiny_gpt2_folder, prompts_file), *more], tmp_path)
    assert done.returncode == 2
    assert "amateur.layer=12 is outside" in done.stderr
    arms = [path.name for path in (tmp_path / "runs" / "sweep").iterdir() if path.name.startswith("early_exit")]
    assert sorted(name.split("-")[1] for name in arms) == ["k4", "k5"]


# What was typed, and what the message must say; <tiny> and <prompts> stand for a good model and good prompts.
MISTAKES: list[tuple[list[str], str]] = [
    (["contrast.alhpa=0.1"], "Did you mean 'alpha'?"),
    (["+contrast.alhpa=0.1"], "Did you mean 'alpha'?"),
    (["+layer=3"], "Did you mean 'amateur.layer'?"),
    (["amatuer=none"], "Did you mean 'amateur'?"),
    (["contrast.alpha=high"], "'high' of type 'str' could not be converted to Float"),
    (["search.beams=2.5"], "could not be converted to Integer"),
    (["contrast.temperature_form=log"], "expected one of [softmax, logprob]"),
    (["metrics.only=[diversty]"], "there is no metric 'diversty'. Did you mean 'diversity'?"),
    (
        ["search=beem"],
        "Could not find 'search/beem', Available options in 'search': beam, calm, contrastive_search, eta, greedy",
    ),
    (["contrast.alpha=0"], "contrast.alpha=0.0 is out of range: expected a number in (0, 1]"),
    (["contrast.alpha=1.5"], "(0, 1]"),
    (["contrast.temperature=0"], "contrast.temperature=0 is out of range: expected a number > 0"),
    (["contrast.temperature=warm"], "contrast.temperature=warm is out of range: expected a number > 0, or calibrated"),
    (["contrast.temperature=calibrated", "amateur=dola"], "calibrated is fitted to one layer of the expert"),
    (["contrast.temperature=calibrated", "contrast.temperature_form=logprob"], "only softmax(z / T) is a distribution"),
    (["contrast.temperature=nan"], "expected a number > 0"),
    (["contrast.beta=-1"], "expected a number >= 0"),
    (["search.beams=0"], "search.beams=0 is out of range: expected at least 1"),
    (["search.max_new_tokens=0"], "expected at least 1"),
    (["search=greedy", "search.beams=5"], "greedy search has 1 beam"),
    (["search=nucleus", "search.top_p=1.5"], "search.top_p=1.5 is out of range: expected a number in (0, 1), or null"),
    (["search=nucleus", "search.top_p=0"], "search.top_p=0.0 is out of range"),
    (["search=top_k", "search.top_k=0"], "search.top_k=0 is out of range: expected at least 1, or null"),
    (["search=min_p", "search.min_p=-1"], "expected a number in (0, 1], or null"),
    (["search=typical", "search.typical_p=1"], "search.typical_p=1.0 is out of range"),
    (["search=eta", "search.eta=1"], "search.eta=1.0 is out of range"),
    (["search=sample", "search.temperature=0"], "search.temperature=0.0 is out of range: expected a number > 0"),
    (["search=sample", "search.samples=0"], "search.samples=0 is out of range: expected at least 1"),
    (["search=nucleus", "search.beams=5"], "For several texts a prompt use search.samples=5"),
    (["search=beam", "search.samples=3"], "search.samples=3 with search=beam: only random draws read it"),
    (["search=greedy", "search.temperature=0.7"], "search.temperature=0.7 with search=greedy: only random draws"),
    (["search.penalty=0.5"], "search.penalty=0.5 with search=beam: only contrastive search reads it"),
    (["search=contrastive_search"], "has no amateur; add amateur=none"),
    (["search=contrastive_search", "amateur=none", "search.penalty=2"], "search.penalty=2.0 is out of range"),
    (["search=contrastive_search", "amateur=none", "search.top_p=0.9"], "only random draws read it"),
    (["study=../elsewhere"], "cannot name a folder"),
    (["expert=hub"], "expert.name has no value"),
    (["prompts=file"], "prompts=file needs prompts.path"),
    (["contrast.alpha=0.1,0.2"], "add --multirun"),
    (["<tiny>", "<prompts>", "amateur.layer=12"], "L=12 blocks, and an exit comes after 1 to 11"),
    (["<tiny>", "<prompts>", "amateur.layer=0"], "amateur.layer=0 is out of range"),
    (
        ["<tiny>", "<prompts>", "amateur.layer=1.5"],
        "expected a whole number of blocks from 1, or a fra",
    ),
    (["<tiny>", "<prompts>", "amateur.layer=deep"], "amateur.layer=deep is out of range"),
    (["<tiny>", "<prompts>", "amateur.layer=[4,5]"], "--multirun amateur.layer=4,5; for a choice at every token"),
    (["<tiny>", "<prompts>", "amateur.layer=4", "amateur.selection=jsd"], "amateur.layer=4 leaves no choice"),
    (["<tiny>", "<prompts>", "amateur=dola", "amateur.layer=[4,15]"], "amateur.layer=15 is outside"),
    (
        ["<tiny>", "<prompts>", "amateur=calm", "amateur.layer=[4,5]", "amateur.threshold=2"],
        "expected a number in [0, 1]",
    ),
    (["<tiny>", "<prompts>", "amateur=calm", "amateur.measure=entropy"], "expected one of [softmax, saturation]"),
    (["<tiny>", "<prompts>", "amateur=truncated", "amateur.layer=[4,5]"], "a truncated model has one last block"),
    (
        ["<tiny>", "<prompts>", "amateur=truncated", "amateur.lens=raw"],
        "is a setting of amateur=early_exit",
    ),
    (
        ["<tiny>", "<prompts>", "amateur=ngram", "amateur.selection=jsd"],
        "is a setting of amateur=early_exit",
    ),
    (["<tiny>", "<prompts>", "amateur.lens=tuned"], "amateur.lens=tuned needs amateur.lens_file"),
    (["<tiny>", "<prompts>", "amateur.lens_file=a"], "is not read with amateur.lens=norm"),
    (["<tiny>", "<prompts>", "amateur.lens=tuned", "amateur.lens_file=nowhere"], "lens_file=nowhere is not a file"),
    (["<tiny>", "<prompts>", "amateur.lens=tuned", "amateur.lens_file=a_file"], "a_file cannot be read as a lens"),
    (["<tiny>", "<prompts>", "contrast.temperature=calibrated"], "none is left to learn an"),
    (["<tiny>", "<prompts>", "amateur=truncated", "amateur.layer=12"], "an exit comes after 1 to 11"),
    (["<tiny>", "<prompts>", "amateur.context=generated"], "amateur=early_exit reads what the expert reads"),
    (["<tiny>", "<prompts>", "amateur=model", "amateur.name=null"], "amateur=model needs amateur.name"),
    (["<tiny>", "<prompts>", "amateur=checkpoint"], "is the expert itself"),
    (["<tiny>", "<prompts>", "amateur=ngram", "amateur.order=0"], "amateur.order=0 is out of range"),
    (["<tiny>", "<prompts>", "amateur.layer=null"], "amateur=early_exit needs amateur.layer"),
    (["<tiny>", "<prompts>", "search.max_new_tokens=600", "prompts.prompt_tokens=1"], "texts are too short"),
    (["<tiny>", "prompts=file", "prompts.path=whole.jsonl", "search.max_new_tokens=510"], "exceed the context"),
    (["<tiny>", "prompts=file", "prompts.path=nowhere.jsonl"], "nowhere.jsonl"),
    (["<tiny>", "prompts=file", "prompts.path=empty.jsonl"], "empty"),
    (["<tiny>", "prompts=file", "prompts.path=field.jsonl"], "promt"),
    (["<tiny>", "prompts=file", "prompts.path=broken.jsonl"], "line 2"),
    (["<tiny>", "prompts=file", "prompts.path=latin.jsonl"], "UTF-8"),
    (["expert.name=./nowhere"], "not a folder"),
    (["expert.name=empty_folder"], "folder without a model"),
    (["expert.name=embedded:gpt2"], "embedded:smollm2"),
    (["expert.dtype=float8"], "expected one of [auto, float32, bfloat16, float16]"),
    (["<tiny>", "<prompts>", "expert.device=toaster"], "expected auto, cpu, cuda"),
    (["<tiny>", "<prompts>", "runs=a_file"], "a_file"),
]


@pytest.fixture(scope="session")
def stand_ins(tiny_gpt2_folder: Path, prompts_file: Path) -> dict[str, list[str]]:
    return {
        "<tiny>": [f"expert.name={tiny_gpt2_folder}", *SMALL[:3]],
        "<prompts>": ["prompts=file", f"prompts.path={prompts_file}"],
    }


@pytest.fixture(scope="session")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that can be wrong with a prompts file."""
    folder = tmp_path_factory.mktemp("messy")
    (folder / "empty.jsonl").write_text("")
    (folder / "field.jsonl").write_text('{"promt": "The quick brown fox"}\n')
    (folder / "broken.jsonl").write_text('{"prompt": "The quick"}\n{"prompt": "brown\n{"prompt": "fox"}\n')
    (folder / "latin.jsonl").write_bytes('{"prompt": "café"}\n'.encode("latin-1"))
    (folder / "whole.jsonl").write_text('{"prompt": "The quick brown fox jumps over the lazy dog"}\n')
    (folder / "a_file").write_text("not a folder")
    (folder / "empty_folder").mkdir()
    return folder


@pytest.mark.parametrize(("typed", "expected"), MISTAKES, ids=[" ".join(typed) for typed, _ in MISTAKES])
def test_a_mistake_gets_one_clear_message(
    typed: list[str],
    expected: str,
    messy: Path,
    stand_ins: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [part for argument in typed for part in stand_ins.get(argument, [argument])]
    if "<tiny>" in typed and not any(argument.startswith("amateur.layer") for argument in typed):
        arguments.append("amateur.layer=6")
    monkeypatch.chdir(messy)
    assert expected in mistyped([*arguments, "tracking=none"], monkeypatch, capsys)


PROTOCOLS = sorted(path.stem for path in (CONF / "protocol").glob("*.yaml"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_sets_only_what_there_is(
    protocol: str, stand_ins: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the command line has the last word."""
    seen: list[RunConfig] = []
    dola = ["amateur=dola", "amateur.layer=[2,4,6]"]
    amateur = dola if protocol == "dola2023" else ["amateur=truncated", "amateur.layer=6"]
    parts = [*stand_ins["<tiny>"], *stand_ins["<prompts>"], *amateur]
    monkeypatch.setattr(sys, "argv", ["cdeval.run", *parts, f"protocol={protocol}", "contrast.alpha=0.2"])
    monkeypatch.chdir(tmp_path)
    run_command(seen.append)
    (config,) = seen
    assert config.protocol.name == protocol
    assert config.contrast.alpha == 0.2
    if protocol == "li2022":
        assert (config.search.pool, config.contrast.expert_top_k) == (Pool.local, 50)
        assert config.amateur.context is Context.generated
        assert config.contrast.temperature_form is TemperatureForm.logprob


def test_a_mistake_ends_the_process_with_2_and_no_traceback(tmp_path: Path) -> None:
    """Also without a hub: the answer comes in seconds, and names what works without one."""
    for typed, expected in [("contrast.alhpa=1", "Did you mean"), ("expert=gpt2", "expert=smollm2 (embedded)")]:
        failed = cdeval([typed], tmp_path, HF_HUB_OFFLINE="1")
        assert failed.returncode == 2, failed.stderr
        assert expected in failed.stderr
        assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(("controls", "fills"), [("true", "human"), ("false", "early_exit")])
def test_a_full_disk_keeps_what_was_written(tmp_path: Path, tiny_gpt2_folder: Path, controls: str, fills: str) -> None:
    """A limit of 8 KiB a file stands in for the disk; with room again, the same command goes on after what is saved."""
    many = tmp_path / "many.jsonl"
    many.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS * 10))
    arguments = on(
        tiny_gpt2_folder, many, "study=full", "tracking=none", "execution.max_lanes=4", f"controls={controls}"
    )
    command = " ".join([sys.executable, "-m", "cdeval.run", *arguments])
    failed = subprocess.run(
        ["bash", "-c", f"trap '' XFSZ; ulimit -f 8; {command}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert failed.returncode == 2, failed.stderr
    assert "error: " in failed.stderr
    assert "the same command, run again, continues" in failed.stderr
    assert "Traceback" not in failed.stderr
    texts = folders(tmp_path / "runs" / "full")[fills] / "generations.jsonl"
    saved = texts.read_text().splitlines()
    assert 0 < len(saved) < 30
    again = cdeval(arguments, tmp_path)
    assert again.returncode == 0, again.stderr
    lines = texts.read_text().splitlines()
    assert len(lines) == 30
    assert lines[: len(saved)] == saved
