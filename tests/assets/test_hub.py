"""The hub is played by a small server on this machine."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from cdeval.assets.hub import hub_reachable, require_hub
from cdeval.errors import HubError


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No cached answer, no downloads, online, and every global is put back."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    hub_reachable.cache_clear()
    yield
    hub_reachable.cache_clear()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], list[str]]]:
    """Start a hub that answers every request with one status; returns the list of paths that it was asked for."""
    servers = []

    def start(status: int) -> list[str]:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                asked.append(self.path)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        return asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("status", "reachable"), [(200, True), (401, True), (404, True), (502, False), (503, False)])
def test_any_answer_but_an_outage_counts_and_is_asked_for_once(
    serve: Callable[[int], list[str]], status: int, reachable: bool
) -> None:
    asked = serve(status)
    assert hub_reachable() is reachable
    assert hub_reachable() is reachable
    assert len(asked) == 1


def test_offline_mode_means_no_without_asking(
    serve: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = serve(200)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub_reachable()
    assert asked == []


def test_a_name_server_that_hangs_costs_two_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """No timeout of an HTTP client covers the resolution of names."""
    session = SimpleNamespace(head=lambda address, timeout: time.sleep(10))
    monkeypatch.setattr("cdeval.assets.hub.get_session", lambda: session)
    start = time.monotonic()
    assert not hub_reachable()
    assert time.monotonic() - start < 3


def test_the_error_says_what_was_asked_and_what_works_but_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://user:hunter2@127.0.0.1:9/mirror")
    with pytest.raises(
        HubError, match=r"the model gpt2 is .*127\.0\.0\.1:9/mirror.*Works without the hub: this\."
    ) as caught:
        require_hub("the model gpt2", "this", repo="gpt2")
    assert "hunter2" not in str(caught.value)


def test_an_earlier_download_will_do_and_keeps_the_libraries_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = SimpleNamespace(config=SimpleNamespace(HF_HUB_OFFLINE=False))
    monkeypatch.setitem(sys.modules, "datasets", library)
    snapshots = tmp_path / "datasets--org--texts" / "snapshots"
    snapshots.mkdir(parents=True)
    with pytest.raises(HubError):  # an interrupted download
        require_hub("the texts", "this", repo="org/texts", kind="dataset")
    (snapshots / "b0860").mkdir()
    with pytest.raises(HubError):  # a model of that name was never downloaded
        require_hub("the texts", "this", repo="org/texts", kind="model")
    assert not constants.is_offline_mode()
    require_hub("the texts", "this", repo="org/texts", kind="dataset")
    assert constants.is_offline_mode()
    assert library.config.HF_HUB_OFFLINE


def test_a_reachable_hub_changes_nothing(serve: Callable[[int], list[str]]) -> None:
    serve(200)
    require_hub("the model gpt2", "this", repo="gpt2")
    assert not constants.is_offline_mode()
