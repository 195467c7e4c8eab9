"""A whole study on a GPU, as a user types it: decoded, scored, timed in a process of its own, reported."""

import json
from pathlib import Path

import pytest

from tests.commands import cdeval, on
from tests.gpu.conftest import here


@pytest.mark.gpu
def test_a_study_runs_on_a_gpu_and_says_so(tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path) -> None:
    here("cuda")
    timed = ["cost.latency_repeats=2", "expert.device=cuda", "study=on_a_gpu"]
    # Each arm would be compiled twice, the second time in the process that times it: minutes, and tested elsewhere.
    timed += ["metrics.only=[words,diversity,perplexity_expert]", "execution.compile=never"]
    done = cdeval([*on(tiny_gpt2_folder, prompts_file), *timed], tmp_path)
    assert done.returncode == 0, done.stderr
    (summary,) = (tmp_path / "runs" / "on_a_gpu").glob("early_exit*/summary.json")
    record = json.loads((summary.parent / "provenance.json").read_text())
    assert record["models"]["device"].startswith("cuda")
    assert record["gpu"]["names"], "the card's name"
    latency = json.loads((summary.parent / "latency.json").read_text())
    assert all(0 < seconds < 10 for seconds in latency["wall_seconds"])
    assert latency["working_bytes"] > 0
