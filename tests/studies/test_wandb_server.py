"""Commands against a W&B on the loopback: watched while they decode, under a real sweep agent, and with an ill server.

No server costs a result. What one costs in time is what passes between the last mirror on disk and the command's end.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import on, typed
from tests.report.tracking.server import KEY, WandbServer, wandb_server

pytestmark = pytest.mark.long
MOST_SECONDS = 5.0


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with wandb_server() as found:
        monkeypatch.setenv("WANDB_BASE_URL", found.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield found


def no_key_in(folder: Path) -> int:
    """Check every file. Returns: how many there are."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path
    return len(files)


def test_a_study_is_seen_while_it_decodes_and_complete_at_its_end(
    tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path, server: WandbServer
) -> None:
    arguments = on(tiny_gpt2_folder, prompts_file, "tracking=wandb", "tracking.live=true", "tracking.tags=[mine]")
    done = typed("cdeval.run", [*arguments, "study=s"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "W&B" not in done.stdout + done.stderr
    assert server.unknown == []
    by_name = {run["displayName"]: (name, run) for name, run in server.runs.items()}
    assert {run["groupName"] for run in server.runs.values()} == {"s"}
    label = next(name for name in by_name if name.startswith("early_exit"))
    name, run = by_name[label]
    assert run["config"]["amateur"]["layer"] == 6
    assert run["config"]["contrast"]["alpha"] == 0.3
    assert {"mine", "arm", "early_exit", "beam", "file"} <= set(run["tags"])
    rows = server.history[name]
    assert (rows[0]["progress/share"], rows[-2]["progress/share"]) == (0, 1)
    assert rows[-2]["progress/units"] >= 1
    assert rows[-2]["progress/tokens_per_second"] > 0
    assert rows[-2]["progress/seconds_left"] == 0
    (finished,) = (tmp_path / "runs" / "s").glob("early_exit*/summary.json")
    stored = {key: value for key, value in json.loads(finished.read_text()).items() if value is not None}
    assert {key: value for key, value in server.summary[name].items() if key in stored} == stored
    assert rows[-1]["words"] == stored["words"]
    assert set(server.exits.values()) == {0}
    assert any("continuations" in path for path in server.files)
    assert "host" not in run
    assert not any("otel" in path or "sentry" in path for _, path, _ in server.requests), "nobody else is told"
    assert no_key_in(tmp_path) > 20


@pytest.mark.parametrize(
    ("ill", "after", "live"),
    [("hang", 0, True), ("error", 0, False), ("close", 0, True), ("hang", 4, False), ("error", 5, True)],
)
def test_an_ill_server_costs_five_seconds_at_most_and_no_result(
    tiny_gpt2_folder: Path,
    prompts_file: Path,
    tmp_path: Path,
    server: WandbServer,
    *,
    ill: str,
    after: int,
    live: bool,
) -> None:
    server.ill, server.ill_after = ill, after
    arguments = [*on(tiny_gpt2_folder, prompts_file), "tracking=wandb", "tracking.mode=online", "study=s"]
    done = typed("cdeval.run", [*arguments, f"tracking.live={str(live).lower()}"], tmp_path)
    ended = time.time()
    assert done.returncode == 0, done.stderr
    study = tmp_path / "runs" / "s"
    mirrors = list(study.glob("**/*.wandb"))
    assert len(mirrors) == 4, done.stderr
    assert ended - max(path.stat().st_mtime for path in mirrors) < MOST_SECONDS
    assert len(list(study.glob("*/summary.json"))) == 3
    assert "to send later: wandb sync" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    no_key_in(tmp_path)


def test_a_real_sweep_agent_runs_three_points_and_the_server_has_the_objective(
    tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["${env}", sys.executable, "-m", "cdeval.run", *on(tiny_gpt2_folder, prompts_file), "study=swept"]
    command += ["tracking=wandb", "tracking.live=true", "${args_no_hyphens}"]
    points = [{"amateur.layer": 4}, {"amateur.layer": 6}, {"amateur.layer": 8, "contrast.alpha": 0.1}]
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with wandb_server(points=[dict(point) for point in points], command=command) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        agent = [sys.executable, "-m", "wandb", "agent", "me/p/sweep1"]
        done = subprocess.run(agent, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    swept = {name: run for name, run in server.runs.items() if run.get("sweep") == "sweep1"}
    assert set(swept) == {"swept0", "swept1", "swept2"}, done.stderr
    for name, point in zip(("swept2", "swept1", "swept0"), points, strict=True):
        own = swept[name]["config"]
        assert {key: own[key] for key in point} == point, "under the sweep's own names"
        assert own["amateur"]["layer"] == point["amateur.layer"]
        assert server.exits[name] == 0
        assert server.summary[name]["words"] >= 0, "the objective"
        assert server.history[name][0]["progress/share"] == 0
    others = [run for name, run in server.runs.items() if name not in swept]
    assert {run["jobType"] for run in others} == {"point", "study"}, "the control, the human texts and the study"
    assert no_key_in(tmp_path) > 20


def test_an_agent_that_asks_for_several_points_is_told_so(
    tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path
) -> None:
    arguments = [*on(tiny_gpt2_folder, prompts_file), "tracking=wandb", "contrast.alpha=0.1,0.3", "--multirun"]
    done = typed("cdeval.run", arguments, tmp_path, WANDB_SWEEP_ID="s1", WANDB_RUN_ID="r1")
    assert done.returncode == 2
    assert "WANDB_SWEEP_ID=s1 names one run of W&B, and this command asks for 2 settings" in done.stderr
    assert not list(tmp_path.rglob("generations.jsonl"))
