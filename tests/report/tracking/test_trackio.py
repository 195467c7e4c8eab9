"""trackio's runs: same names, settings and numbers, in a database of the study; nobody is asked or told anything."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cdeval.config.enums import Tracker
from cdeval.records import Generation
from cdeval.report.tracking.given import Target
from cdeval.report.tracking.track import point_run, track

pytest.importorskip("trackio", reason="needs the extra [trackio]")
pytestmark = pytest.mark.long
TARGET = Target(Tracker.trackio, online=False, project="tests")
# In place of the module that Python imports first of all: what asks a network ends the process.
OFFLINE = """
import socket, sys
def refuse(*arguments, **_):
    open({log!r}, "a").write(repr(arguments))
    raise OSError("no network")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
"""


def test_a_study_is_in_it_under_the_same_names_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "asked"
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "sitecustomize.py").write_text(OFFLINE.format(log=str(log)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stub"))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_WEBHOOK_URL", "HF_TOKEN"):
        monkeypatch.setenv(name, "planted")
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    texts = [Generation("a", f"Once in {home}", (1,), None, "there <b>was", (2, 3), -1.0, 0.5)]
    config = {"amateur": {"layer": 6}, "seed": 0}
    runs = [
        point_run("s", f"k={k}", tmp_path / "s" / f"k{k}", config=config, summary={"mauve": k / 10}, texts=texts)
        for k in (1, 2)
    ]
    for _ in range(2):  # a repeated point replaces itself
        assert track(TARGET, tmp_path / "s", runs) == []
    assert not log.exists(), log.read_text()
    (database,) = (tmp_path / "s" / "trackio").glob("*.db")
    with sqlite3.connect(database) as found:
        metrics = found.execute("select run_name, metrics from metrics").fetchall()
        configs = dict(found.execute("select run_name, config from configs").fetchall())
    assert sorted(name for name, _ in metrics) == ["k=1", "k=2"]
    numbers = {name: json.loads(content) for name, content in metrics}
    assert (numbers["k=1"]["mauve"], numbers["k=2"]["mauve"]) == (0.1, 0.2)
    assert numbers["k=1"]["continuations"]["_value"][0]["continuation"] == "there <b>was"
    written = json.loads(configs["k=1"])
    assert (written["amateur"]["layer"], written["_Group"], written["_Username"]) == (6, "s", None)
    assert list(home.iterdir()) == []
    for path in (tmp_path / "s").rglob("*"):
        if path.is_file():
            assert b"planted" not in path.read_bytes()
            assert str(home).encode() not in path.read_bytes()
    listed = [sys.executable, "-m", "trackio.cli", "list", "runs", "--project", "tests", "--json"]
    environment = {"TRACKIO_DIR": str(tmp_path / "s" / "trackio"), "HOME": str(home), "HF_HUB_OFFLINE": "1"}
    shown = subprocess.run(listed, env=environment, capture_output=True, text=True, check=True).stdout
    assert {"k=1", "k=2"} <= set(json.dumps(json.loads(shown)).replace('"', " ").split())
