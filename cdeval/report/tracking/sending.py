"""Mirrors on their way to the user's W&B server: in a process of its own, given up as soon as the server takes nothing.

The first failure ends it, and whoever waits is told in one line. Every mirror stays on disk, to be sent later.
"""

import os
import queue
import ssl
import tempfile
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cdeval.report.tracking.child import Child
from cdeval.report.tracking.confined import wandb_service

REACH_SECONDS = 3.5  # for the server to answer at all
STILL_SECONDS = 3.5  # in which the server takes nothing in, while a command waits for its end
READY_SECONDS = 10.0  # in which wandb is imported, whatever the server does: one, on a machine that does nothing else
STILL_DECODING = 60.0  # the same while texts are decoded, when nobody waits: wandb tries again meanwhile
FILES_SECONDS = 60.0  # in which one large file may be on its way to a server that answers otherwise
_PROBE_SECONDS = 1.0
# Of a run of the user's own: a mirror has its own.
_OF_A_RUN = "MODE RUN_ID SWEEP_ID SWEEP_PARAM_PATH NAME NOTES TAGS RUN_GROUP JOB_TYPE RESUME PROJECT ENTITY SERVICE"


class SendingError(Exception):
    """The server cannot be reached, refuses, or takes nothing in any more."""


class Sending:
    """The process that sends mirrors, from its start until it is ended. Nothing here waits, but for `wait`."""

    def __init__(self) -> None:
        """Start it; wandb is imported there meanwhile. Raises: OSError: no process can be started."""
        self._scratch = tempfile.TemporaryDirectory()  # for logs that name the user
        unset = {f"WANDB_{name}" for name in _OF_A_RUN.split()}
        folders = {f"WANDB_{name}DIR": self._scratch.name for name in ("", "CACHE_", "DATA_")}
        given = {name: value for name, value in os.environ.items() if name not in unset}
        self._child = Child("cdeval.report.tracking.sender", {**given, **folders, "WANDB_ERROR_REPORTING": "false"})
        self._orders = 0
        self._open: dict[int, dict[str, Any]] = {}  # orders that are not done, with what was last said of each
        self._ready = False
        self._moved = time.monotonic()

    def send(self, mirrors: Sequence[Path], *, live: bool) -> None:
        """Send mirrors; `live` ones are still being written."""
        self._child.tell({"number": self._orders, "mirrors": [str(path.resolve()) for path in mirrors], "live": live})
        self._open[self._orders] = {}
        self._orders += 1
        self._moved = time.monotonic()

    def check(self) -> None:
        """Look how far it is, without waiting. Raises: SendingError: it has failed, or the server takes nothing in."""
        while self._take(0):
            pass
        if not self._all("waiting") and time.monotonic() - self._moved > STILL_DECODING:
            raise SendingError(self._reason(STILL_DECODING))

    def wait(self, spent: float = 0.0) -> None:
        """Return once everything is sent.

        Args: spent: seconds for which the server has already been waited for.
        Raises: SendingError: it has failed, or the server takes nothing in.
        """
        self._moved = time.monotonic() - spent
        while self._open:
            still = time.monotonic() - self._moved
            files = self._all("files") and not self._trouble
            most = FILES_SECONDS if files else STILL_SECONDS if self._ready else READY_SECONDS
            if still > most:
                raise SendingError(self._reason(most))
            if not self._take(0.1) and files and still > STILL_SECONDS / 2:
                reach_server(_PROBE_SECONDS)

    def end(self, *, sent: bool) -> None:
        """End the process: by itself where everything is sent, at once otherwise."""
        if sent:
            self._child.tell({"end": True})
            self._child.end(1.0)
        else:
            self._child.kill()
        self._scratch.cleanup()

    def _take(self, seconds: float) -> bool:
        """Take in an answer, if there is one within so many seconds. Raises: SendingError: it says that it failed."""
        found = self._child.answer(seconds)
        if found is None:
            if self._open and self._child.over:
                raise SendingError("the process that sends has ended")
            return False
        self._ready = True
        if found.keys() & {"ready", "moved", "done"}:
            self._moved = time.monotonic()
        self._open.get(found.get("number", -1), {}).update(found)
        if "done" in found:
            self._open.pop(found["number"], None)
            if found["problem"]:
                raise SendingError(_without_key(found["problem"]))
        return True

    def _all(self, fact: str) -> bool:
        return all(said.get(fact) for said in self._open.values())

    @property
    def _trouble(self) -> str:
        return next((said["trouble"] for said in self._open.values() if said.get("trouble")), "")

    def _reason(self, seconds: float) -> str:
        trouble = f": {_without_key(self._trouble)}" if self._trouble else ""
        return f"the server has taken nothing in for {seconds:g} s{trouble}"


def reach_server(seconds: float | None = None) -> None:
    """Return once the user's server has answered anything. Raises: SendingError: it has not, within so many seconds."""
    with wandb_service() as wandb:
        server = wandb.setup(wandb.Settings(mode="disabled")).settings.base_url  # disabled: starts no service
    _reach(server, REACH_SECONDS if seconds is None else seconds)


def _reach(url: str, seconds: float) -> None:
    """Return once the server has answered anything but that it is ill. Raises: SendingError: it has not."""
    answers: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
    # In a thread, because looking up a name on a machine without a network keeps to no time limit.
    threading.Thread(target=lambda: answers.put(_answer(url, seconds)), daemon=True).start()
    try:
        failure = answers.get(timeout=seconds)
    except queue.Empty:
        failure = TimeoutError(f"no answer in {seconds:g} s")
    if failure:
        raise SendingError(f"{url} cannot be reached: {failure}")


def _answer(url: str, seconds: float) -> OSError | None:
    try:
        urllib.request.urlopen(url, timeout=seconds).close()  # noqa: S310 - the user's own W&B server
    except urllib.error.HTTPError as error:
        return error if error.code >= 500 else None
    except urllib.error.URLError as error:
        return None if isinstance(error.reason, ssl.SSLError) else error  # wandb has its own certificates
    except OSError as error:
        return error
    return None


def reason(error: Exception) -> str:
    """Say what went wrong, in one short line without a key."""
    text = str(error) if isinstance(error, SendingError) else f"{type(error).__name__}: {error}"
    return _without_key(text)


def _without_key(text: str) -> str:
    key = os.environ.get("WANDB_API_KEY")
    return textwrap.shorten(text.replace(key, "***") if key else text, 200)
