"""Transformers' own generate as an arm beside ours: stored, resumed, scored, timed; its FLOPs unknown everywhere."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.commands import cdeval, on

TOP_N_SIGMA = "logits_processor:[{_target_:examples.generate.methods.TopNSigma,n:1.5}]"
DRAWN = f"search.generate={{do_sample:true,top_k:0,{TOP_N_SIGMA}}}"
ROOT = str(Path(__file__).resolve().parents[2])


def theirs(folder: Path, prompts: Path, *more: str) -> list[str]:
    own = [one for one in on(folder, prompts) if not one.startswith("amateur.l")]
    return [*own, "+arm=hf", "study=theirs", "metrics.only=[words]", *more]


@pytest.mark.long
def test_a_study_with_texts_of_transformers(tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path) -> None:
    ours = [*on(tiny_gpt2_folder, prompts_file, "study=theirs", "metrics.only=[words]")]
    assert cdeval(ours, tmp_path).returncode == 0
    again = theirs(tiny_gpt2_folder, prompts_file, DRAWN, "cost.latency_repeats=1", "cost.isolated=false", "notes=all")
    done = cdeval(again, tmp_path, PYTHONPATH=ROOT)
    assert done.returncode == 0, done.stderr
    reason = "FLOPs unknown: what generate of transformers computes is not counted"
    assert reason in " ".join(done.stdout.split())
    study = tmp_path / "runs" / "theirs"
    (arm,) = study.glob("generate-*")
    summary = json.loads((arm / "summary.json").read_text())
    assert (summary["texts"], summary["flops_per_token"], summary["bytes_per_token"]) == (3, None, None)
    assert summary["words"] > 0
    assert summary["decode_seconds_per_token"] > 0
    assert summary["memory_bytes"] > summary["weights_bytes"]
    rows = {row["label"]: row for row in csv.DictReader((study / "results.csv").open())}
    mine = rows["generate do_sample TopNSigma(n=1.5) top_k=0"]
    assert (mine["unknown"], mine["flops_per_token"]) == (reason, "")
    assert rows["human"]["unknown"] == ""
    assert reason in (study / "report.html").read_text()
    assert reason in (study / "table.md").read_text()
    assert len([label for label in rows if label.startswith("generate")]) == 1
    assert not any(label.startswith("expert alone, generate") for label in rows)

    texts = arm / "generations.jsonl"
    before = texts.read_text()
    lines = before.splitlines(keepends=True)
    texts.write_text(lines[1])
    done = cdeval(again, tmp_path, PYTHONPATH=ROOT)
    assert done.returncode == 0, done.stderr
    assert sorted(texts.read_text().splitlines()) == sorted(before.splitlines()), "a resume writes the same texts"
    done = cdeval(again, tmp_path, PYTHONPATH=ROOT)
    assert "timing" not in done.stderr, "unknown costs are kept as they are"


@pytest.mark.slow  # starts processes that import torch
def test_ray_workers_write_the_same_texts(tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path) -> None:
    """Modules are looked for in the command's folder there, too; a text's random numbers are its own."""
    pytest.importorskip("ray", reason="needs the extra [ray]")
    (tmp_path / "mine.py").write_text((Path(ROOT) / "examples" / "generate" / "methods.py").read_text())
    line = theirs(tiny_gpt2_folder, prompts_file, DRAWN.replace("examples.generate.methods", "mine"), "tracking=none")
    for study, more in (("here", []), ("there", ["execution=ray", "execution.workers=1", "execution.silence_s=300"])):
        done = cdeval([*line, f"study={study}", *more], tmp_path)
        assert done.returncode == 0, done.stderr
    here, there = (
        sorted(
            next((tmp_path / "runs" / name).glob("generate-*")).joinpath("generations.jsonl").read_text().split("\n")
        )
        for name in ("here", "there")
    )
    assert here == there
    assert len(here) == 3 + 1


@pytest.mark.long
def test_what_transformers_refuses_fails_its_arm_alone(
    tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    line = theirs(tiny_gpt2_folder, prompts_file)
    stops = "search.generate={stop_strings:e},{num_beams:2},{num_beams:two}"
    done = cdeval([*line, stops, "--multirun"], tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    errors = [one for one in done.stderr.splitlines() if one.startswith("error: ")]
    assert len(errors) == 2, done.stderr
    assert "of 8 tokens for the prompt 'text-" in errors[0] + errors[1]
    assert "generate raised TypeError" in errors[0] + errors[1]
    assert "generate num_beams=2" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search=hf", "amateur=early_exit"], "amateur=early_exit with search=hf: the expert's texts are made by"),
        (["search=hf", "amateur=none", "search.beams=3"], "its beams are search.generate.num_beams"),
        (["search=hf", "amateur=none", "search.ban=free"], "search.ban=free with search=hf"),
        (["search=hf", "amateur=none", "contrast.plausibility=min_p"], "contrast.plausibility=min_p with search=hf"),
        (["search=hf", "amateur=none", "search.top_k=5"], "search.top_k=5 is not read with search=hf"),
        (["search=greedy", "search.generate={do_sample:true}"], "is not read with search=greedy: add search=hf"),
        (["search=greedy", "+search.generate.do_sample=true"], "is not read with search=greedy: add search=hf"),
        (["search=hf", "amateur=none", "search.generate=5"], "search.generate"),
        (["search=hf", "amateur=none", "search.generate={top_q:1}"], "top_q: generate has no such argument"),
        (["search=hf", "amateur=none", "expert.weights=random"], "search=hf with expert.weights=random"),
    ],
)
def test_a_mistake_in_a_setting_gets_one_message(
    words: Sequence[str], message: str, tiny_gpt2_folder: Path, refused: Callable[[str, Sequence[str]], str]
) -> None:
    assert message in refused("run", [f"expert.name={tiny_gpt2_folder}", *words])
