"""A study's own W&B run, read back with wandb's reader: tables, pictures, the report; and no key anywhere."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cdeval.report.publish import write_report
from cdeval.report.tracking import sending
from cdeval.report.tracking.boards import study_run
from cdeval.report.tracking.track import point_run, track
from tests.report.studies import write_study
from tests.report.tracking.test_mirror import KEY, OFFLINE, ONLINE, inspect

LENS = {"layer": 8, "lens": "norm", "nll": 4.2, "margin": {"value": 0.3}}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a report, its W&B mirror, and a lens that was measured beside it."""
    runs = tmp_path_factory.mktemp("runs")
    folder = write_study(runs / "layers", layers=(4, 8, 12))
    (runs / "lens").mkdir()
    (runs / "lens" / "scores.json").write_text(json.dumps({"scores": [LENS]}))
    (runs / "lens" / "other.json").write_text("[1, 2]")
    write_report(folder)
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("WANDB_API_KEY", KEY)
        (home / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
        assert track(OFFLINE, folder, [study_run(folder)]) == []
    return folder


@pytest.mark.long
def test_tables_pictures_and_report_are_in_it(study: Path) -> None:
    (mirror,) = study.glob("wandb/offline-run-*/*.wandb")
    run = json.loads(inspect(mirror, "--summary"))
    assert (run["name"], run["config"]["arms"][0]) == ("layers", "early_exit k=4 α=0.1 β=1 T=1, beam 5")
    summary = run["summary"]
    assert summary["arms"] == 5
    files = mirror.parent / "files"

    def table(name: str) -> list[dict[str, object]]:
        content = json.loads((files / summary[name]["path"]).read_text("utf-8"))
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]

    results = {row["label"]: row for row in table("results")}
    assert len(results) == 5
    best = results["early_exit k=12 α=0.1 β=1 T=1, beam 5"]
    assert (best["diversity"], best["diversity_low"]) == (
        pytest.approx(0.5667, abs=1e-4),
        pytest.approx(0.5167, abs=1e-4),
    )
    assert best["amateur.layer"] == 12
    assert [row["p_holm"] for row in table("comparisons")] == [0.01] * 3
    assert table("lens/scores") == [{"layer": 8, "lens": "norm", "nll": 4.2}]
    pictures = {name for name in summary if name.startswith("figures/")}
    assert pictures == {f"figures/{path.stem}" for path in (study / "figures").glob("*.png")}
    assert len(pictures) > 3
    for name in pictures:
        assert (files / summary[name]["path"]).read_bytes().startswith(b"\x89PNG")
    records = [json.loads(line) for line in inspect(mirror).splitlines()]
    artifacts = [
        record for record in records if "artifact" in json.dumps(record).lower() and "report.html" in json.dumps(record)
    ]
    assert artifacts, "the report is no artifact of the run"
    assert "results.parquet" in json.dumps(artifacts)


def test_no_key_is_in_any_file(study: Path) -> None:
    files = [path for path in study.parent.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert any(path.name == "report.html" for path in files)
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


def test_a_study_that_cannot_be_sent_is_one_line_within_five_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is asked once for all points, and the line's command sends every mirror."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    asked = []

    def unreachable() -> None:
        asked.append(time.monotonic())
        raise OSError("no network")

    monkeypatch.setattr("cdeval.report.tracking.track.reach_server", unreachable)
    root = tmp_path / "my study"
    points = [point_run("s", f"k={k}", root / f"k{k}", config={}, summary={"mauve": 1.0}, texts=[]) for k in range(3)]
    (line,) = track(ONLINE, root, points)
    assert len(asked) == 1
    assert "\n" not in line
    assert "3 runs of s" in line
    command = line.partition("to send later: ")[2].replace("wandb sync", f"{sys.executable} -m wandb sync --dry-run")
    listed = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False).stderr
    for mirror in root.glob("*/wandb/offline-run-*/*.wandb"):
        assert mirror.name in listed
    assert sending.REACH_SECONDS < 5


def test_what_has_no_mirror_is_named_and_the_others_are_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    good = point_run("s", "good", tmp_path / "good", config={}, summary={}, texts=[])
    bad = point_run("s", "bad", tmp_path / "file", config={}, summary={}, texts=[])
    (line,) = track(OFFLINE, tmp_path, [bad, good])
    assert line.startswith("W&B has no copy of bad")
    assert list((tmp_path / "good").glob("wandb/offline-run-*/*.wandb"))
