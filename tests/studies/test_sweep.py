"""Sweeps, end to end on a tiny checkpoint: many settings as one study."""

import json
from pathlib import Path

import pytest

from cdeval.config.schema import ContrastConfig, ExpertConfig, PromptsConfig, RunConfig, SearchConfig
from cdeval.study.open import group_by_study
from tests.commands import cdeval, on

QUIET = ["tracking=none", "cost.latency_repeats=0", "expert.dtype=float32"]


def texts(study: Path) -> dict[str, dict[str, str]]:
    """Run folder -> prompt -> continuation."""
    return {
        path.parent.name: {line["id"]: line["continuation"] for line in map(json.loads, path.read_text().splitlines())}
        for path in study.glob("*/generations.jsonl")
    }


@pytest.mark.long
def test_a_sweep_is_one_study_and_makes_the_texts_of_single_runs(
    tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    """Fused or point by point, beside other settings or not: the same folders and texts; and nothing twice."""
    quiet = [*QUIET, "metrics.only=[perplexity_expert]"]  # a difference needs a metric that texts of 8 tokens have
    swept = [*on(tiny_gpt2_folder, prompts_file)[:-1], *quiet, "amateur.layer=4,6", "search=beam,greedy"]
    done = cdeval(["--multirun", *swept, "study=fused", "notes=all"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("continuations: decoding") == 1, "four settings and two controls are one piece of work"
    assert "Warning" not in done.stderr
    assert done.stdout.count("study fused") == 1
    assert "differences from expert alone, beam 5" in done.stdout
    assert "differences from expert alone, greedy" in done.stdout
    fused = texts(tmp_path / "runs" / "fused")
    assert len(fused) == 4 + 2 + 1
    one_by_one = [*swept[:-1], "search=beam", "study=alone", "hydra/launcher=basic"]
    alone = cdeval(["--multirun", *one_by_one], tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.count("study alone") == 2
    alike = texts(tmp_path / "runs" / "alone")
    assert len(alike) == 2 + 1 + 1
    assert alike.items() <= fused.items()
    table = (tmp_path / "runs" / "fused" / "table.md").read_text()
    assert sum(line.startswith(("| early", "| expert", "| human")) for line in table.splitlines()) == 7 + 4
    again = cdeval(["--multirun", *swept, "study=fused"], tmp_path)
    assert again.returncode == 0, again.stderr
    assert "decoding" not in again.stderr
    assert (tmp_path / "runs" / "fused" / "table.md").read_text() == table


def test_a_sweep_runs_every_point_and_names_those_that_fail(
    tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    """Whether the setting is wrong in itself (alpha) or for this expert (its depth)."""
    more = ["amateur.layer=4,12,5", "contrast.alpha=0.1,2", *QUIET, "study=sweep"]
    done = cdeval(["--multirun", *on(tiny_gpt2_folder, prompts_file), *more], tmp_path)
    assert done.returncode == 2
    assert "amateur.layer=12 is outside" in done.stderr
    assert done.stderr.count("contrast.alpha=2.0 is out of range") == 3
    arms = [path.name for path in (tmp_path / "runs" / "sweep").iterdir() if path.name.startswith("early_exit")]
    assert sorted(name.split("-")[1] for name in arms) == ["k4", "k5"]


def test_other_prompts_or_lengths_are_other_forward_passes_and_one_table(
    tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    more = [*QUIET, "prompts.prompt_tokens=8,16", "study=lengths", "controls=false"]
    done = cdeval(["--multirun", *on(tiny_gpt2_folder, prompts_file), *more], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("continuations: decoding") == 2
    table = (tmp_path / "runs" / "lengths" / "table.md").read_text()
    assert sum(line.startswith("| early") for line in table.splitlines()) == 2


def test_studies_are_what_can_share_forward_passes() -> None:
    def config(**changes: object) -> RunConfig:
        return RunConfig(expert=ExpertConfig(name="x"), **changes)  # type: ignore[arg-type]

    configs = [
        config(),
        config(seed=1),
        config(contrast=ContrastConfig(alpha=0.5)),
        config(search=SearchConfig(max_new_tokens=9)),
        config(prompts=PromptsConfig(limit=3)),
        config(search=SearchConfig(beams=2)),
    ]
    assert group_by_study(configs) == [[0, 2, 5], [1], [3], [4]]
