"""Hydra's other launchers run a sweep point by point, each in a process of its own: same folders, same texts."""

import csv
import json
import os
from pathlib import Path

import pytest

from tests.commands import cdeval, on
from tests.studies.test_sweep import QUIET, texts

pytest.importorskip("submitit", reason="needs the extra [launchers]")
pytestmark = pytest.mark.long
SWEEP = [*QUIET, "+sweep=alpha", "contrast.alpha=0.1,0.3", "metrics.only=[words]"]


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2_folder: Path, prompts_file: Path) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("fused")
    done = cdeval([*on(tiny_gpt2_folder, prompts_file), *SWEEP], folder)
    assert done.returncode == 0, done.stderr
    return texts(folder / "runs" / "alpha")


JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param([*JOBLIB, "contrast.alpha=0.1,0.3,2"], 2, id="joblib and a point that fails"),
        pytest.param(JOBLIB, 0, marks=pytest.mark.nightly, id="joblib"),
        # slow: a process a point, and submitit looks every few seconds
        pytest.param(
            ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=10"], 0, marks=pytest.mark.slow, id="submitit"
        ),
    ],
)
def test_points_in_processes_of_their_own_make_the_texts_of_the_fused_sweep(
    more: list[str], code: int, fused: dict, tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    """They share the control's folder, too: one makes its texts, the other waits and reuses them.

    The error of a point stays in its process unless Hydra is made to carry it: exit code 0 over a missing point.
    """
    done = cdeval([*on(tiny_gpt2_folder, prompts_file), *SWEEP, *more], tmp_path)
    assert done.returncode == code, done.stderr
    assert ("error: contrast.alpha=2.0 is out of range" in done.stderr) == bool(code)
    assert "Traceback" not in done.stderr
    jobs = "".join(path.read_text() for path in tmp_path.rglob("*_log.err"))  # where submitit's processes write
    assert (done.stderr + jobs).count("decodes a sweep's points apart: in bfloat16") == 1
    study = tmp_path / "runs" / "alpha"
    assert texts(study) == fused
    # Whichever process wrote last, the study's files show the points of all.
    labels = [row["label"] for row in json.loads((study / "shown.json").read_text())["rows"]]
    assert len(labels) == len(fused) == 4
    assert {one["arm"] for one in json.loads((study / "comparisons.json").read_text())} == {
        label for label in labels if label.startswith("early_exit")
    }
    with (study / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4


def test_slurm_gets_a_script_that_asks_for_what_was_asked(
    tmp_path: Path, tiny_gpt2_folder: Path, prompts_file: Path
) -> None:
    """An sbatch that keeps the script and refuses it stands for the cluster that is not here."""
    tools = tmp_path / "tools"
    tools.mkdir()
    kept = tmp_path / "script.sh"
    for name in ("sbatch", "srun", "scontrol", "sacct"):
        (tools / name).write_text(
            f'#!/bin/sh\nfor last; do :; done\n[ {name} = sbatch ] && cp "$last" {kept}\nexit 1\n'
        )
        (tools / name).chmod(0o755)
    slurm = ["partition=gpu", "gpus_per_node=1", "timeout_min=90", "mem_gb=40", "cpus_per_task=8", "account=cd"]
    more = ["hydra/launcher=submitit_slurm", *(f"hydra.launcher.{one}" for one in slurm)]
    done = cdeval(
        [*on(tiny_gpt2_folder, prompts_file), *SWEEP, *more],
        tmp_path,
        PATH=f"{tools}{os.pathsep}{os.environ['PATH']}",
    )
    assert done.returncode != 0, "nothing was submitted"
    script = kept.read_text()
    for line in (
        "--partition=gpu",
        "--gpus-per-node=1",
        "--time=90",
        "--mem=40GB",
        "--cpus-per-task=8",
        "--account=cd",
        "--array=0-1",
    ):
        assert f"#SBATCH {line}" in script, script
    assert "submitit.core._submit" in script
