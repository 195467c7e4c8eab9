"""The W&B mirror can be read back, leaks nothing, stays where it belongs, and costs no result when it fails."""

import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import wandb

from cdeval.config.enums import Dtype, Tracker
from cdeval.records import Generation
from cdeval.report.tracking import mirror, sending
from cdeval.report.tracking.given import Target
from cdeval.report.tracking.runs import Mirrored, WandbTable
from cdeval.report.tracking.track import point_run, track
from tests.report.tracking.server import KEY, wandb_server

OFFLINE = Target(Tracker.wandb, online=False, project="tests")
ONLINE = OFFLINE._replace(online=True)


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the W&B files of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def track_point(target: Target, run: Mirrored) -> str | None:
    """One point alone; the line that it comes to, if any."""
    lines = track(target, run.folder, [run])
    assert len(lines) <= 1
    return lines[0] if lines else None


def point(folder: Path, label: str = "early_exit k=26 α=0.1") -> Mirrored:
    texts = [
        Generation("a", "Once", (1,), "upon a time", "there <b>was", (2, 3), -1.0, 0.5),
        Generation("b", "Then 東京", (4,), None, "half \ud83d a pair", (5,), -1.0, 0.5),
    ]
    summary = {"mauve": 0.9, "perplexity_expert": 12.5, "coherence_loglik": -2.5, "coherence": math.nan, "texts": 2.0}
    config = {"contrast": {"alpha": 0.1}, "dtype": Dtype.bfloat16}
    return point_run("first", label, folder, config=config, summary=summary, texts=texts)


def mirrors(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/*.wandb"))


def inspect(mirror: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *options, "--json", str(mirror)]
    return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def test_an_offline_mirror_can_be_read_back(tmp_path: Path) -> None:
    assert track_point(OFFLINE, point(tmp_path)) is None
    (mirror,) = mirrors(tmp_path)
    run = json.loads(inspect(mirror, "--summary"))
    assert (run["name"], run["project"], run["state"]) == ("early_exit k=26 α=0.1", "tests", "finished")
    assert run["config"] == {"contrast": {"alpha": 0.1}, "dtype": "bfloat16"}
    summary = run["summary"]
    assert (summary["mauve"], summary["perplexity_expert"], summary["texts"]) == (0.9, 12.5, 2)
    assert "coherence" not in summary, "NaN is no number of W&B's, and 0 would be a lie"
    table = json.loads((mirror.parent / "files" / summary["continuations"]["path"]).read_text("utf-8"))
    texts = ["id", "sample", "prompt", "continuation", "reference"]
    assert table["columns"] == [*texts, "tokens", "logprob_expert_nats", "score_nats"]
    assert table["data"] == [
        ["a", 0, "Once", "there <b>was", "upon a time", 2, -1.0, 0.5],
        ["b", 0, "Then 東京", "half ? a pair", None, 1, -1.0, 0.5],
    ]
    records = [json.loads(line) for line in inspect(mirror).splitlines()]
    directions = {item["metric"]["name"]: item["metric"]["summary"] for item in records if item["type"] == "metric"}
    assert directions == {"mauve": {"max": True}}, "likelihoods are best near the human texts'"
    assert next(item["run"]["run_group"] for item in records if item["type"] == "run") == "first"


def test_a_repeated_point_replaces_itself_and_another_point_does_not(tmp_path: Path) -> None:
    def run_id(folder: Path, label: str) -> str:
        assert track_point(OFFLINE, point(folder, label)) is None
        (mirror,) = mirrors(folder)
        return mirror.stem

    first = run_id(tmp_path / "a", "k=26")
    assert run_id(tmp_path / "a", "k=26") == first
    assert run_id(tmp_path / "b", "k=25") != first


def test_it_leaks_nothing_and_writes_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, value in {
        "WANDB_API_KEY": KEY,
        "WANDB_NOTES": "planted-notes",
        "WANDB_USERNAME": "planted-user",
        "WANDB_CACHE_DIR": str(elsewhere),
        "PLANTED": "planted-variable",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["cdeval", "--token=planted-argument"])
    monkeypatch.setattr(socket, "gethostname", lambda: "planted-host")
    monkeypatch.chdir(elsewhere)
    environment, hook = dict(os.environ), sys.excepthook
    table = mirror._table

    def talkative(*content: Any) -> Any:
        print("planted-output")  # noqa: T201 - while the W&B run is open
        return table(*content)

    monkeypatch.setattr(mirror, "_table", talkative)
    home = str(Path.home())
    run = point(folder, label=f"of {home}/model")
    run = run._replace(config={"name": f"{home}/model"}, tables={"t": WandbTable(["a"], [[f"in {home}"]])})
    assert track_point(OFFLINE, run) is None
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert [path for path in files if path.suffix == ".log"] == [], "a log names processes and folders of the machine"
    for path in files:
        content = path.read_bytes()
        assert KEY.encode() not in content
        assert b"planted" not in content, path
        assert home.encode() not in content, path
    assert list(elsewhere.iterdir()) == []
    assert list(Path.home().iterdir()) == []
    assert os.listdir(folder) == ["wandb"]
    assert dict(os.environ) == environment
    assert sys.excepthook is hook


@pytest.mark.parametrize(
    "failure", [OSError("No space left on device"), ValueError(f"bad key\n{KEY}"), AssertionError()]
)
def test_a_crash_inside_wandb_becomes_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def crash(**_: object) -> None:
        raise failure

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(wandb, "init", crash)
    line = track_point(OFFLINE, point(tmp_path, "two\nlines"))
    assert line is not None
    assert line.startswith(f"W&B has no copy of two lines ({type(failure).__name__}")
    assert str(tmp_path) in line
    assert "\n" not in line
    assert KEY not in line
    assert not (tmp_path / "wandb").exists(), "half a mirror would pass for a whole one"
    assert os.environ["WANDB_API_KEY"] == KEY


def test_a_crash_in_the_middle_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(**_: object) -> None:
        raise RuntimeError("no table today")

    with monkeypatch.context() as patch:
        patch.setattr(wandb, "Table", crash)
        assert "no table today" in str(track_point(OFFLINE, point(tmp_path)))
    assert wandb.run is None
    assert track_point(OFFLINE, point(tmp_path)) is None


def test_without_wandb_or_a_folder_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "W&B has no copy" in str(track_point(OFFLINE, point(tmp_path / "file")))
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert "wandb" in str(track_point(OFFLINE, point(tmp_path)))


class Answers(BaseHTTPRequestHandler):
    """A W&B server that refuses everybody."""

    def do_GET(self) -> None:
        self.send_error(401)

    def do_POST(self) -> None:
        self.send_error(401)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{http.server_port}")
        yield os.environ["WANDB_BASE_URL"]
        http.shutdown()


@pytest.mark.parametrize(("key", "reason"), [("", "No API key configured"), (KEY, "401")])
@pytest.mark.usefixtures("server")
def test_online_without_a_good_key_keeps_the_mirror_and_says_how_to_send_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, reason: str
) -> None:
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    started = time.monotonic()
    line = track_point(ONLINE, point(tmp_path))
    assert time.monotonic() - started < 15
    assert line is not None
    assert reason in line
    assert "\n" not in line
    assert line.endswith(f"wandb sync {tmp_path / 'wandb'}")
    (mirror,) = mirrors(tmp_path)
    assert list(Path.home().iterdir()) == []
    dry = [sys.executable, "-m", "wandb", "sync", "--dry-run", str(tmp_path / "wandb")]
    assert mirror.name in subprocess.run(dry, capture_output=True, text=True, check=True).stderr


def test_online_without_a_network_gives_up_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:  # takes connections and never answers, as a firewall may
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(sending, "REACH_SECONDS", 0.5)
        started = time.monotonic()
        line = track_point(ONLINE, point(tmp_path))
        assert time.monotonic() - started < 10
    assert line is not None
    assert "cannot be reached" in line
    assert KEY not in line
    assert len(mirrors(tmp_path)) == 1


def test_online_sends_with_the_users_key_and_marks_what_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        assert track_point(ONLINE, point(tmp_path)) is None
    (sent,) = server.runs
    assert server.summary[sent]["mauve"] == 0.9
    assert server.exits == {sent: 0}
    assert any("continuations" in path for path in server.files)
    assert server.unknown == []
    (mirror,) = mirrors(tmp_path)
    assert mirror.with_name(f"{mirror.name}.synced").is_file()
    assert list(Path.home().iterdir()) == []
