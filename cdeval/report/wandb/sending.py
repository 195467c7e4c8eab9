"""Mirrors to the user's W&B server, by `wandb sync` in a process of its own that can be given up."""

import os
import queue
import re
import ssl
import subprocess
import sys
import tempfile
import textwrap
import threading
import urllib.error
import urllib.request
from pathlib import Path

from cdeval.report.wandb.confined import wandb_service

REACH_SECONDS = 4.0  # for the server to answer at all
SYNC_SECONDS = 120.0  # for sending one mirror


def reach_server() -> None:
    """Return once the user's server has answered anything. Raises: OSError: it has not, within REACH_SECONDS."""
    with wandb_service() as wandb:
        server = wandb.setup(wandb.Settings(mode="disabled")).settings.base_url  # disabled: starts no service
    _reach(server)


def send(mirror: Path) -> None:
    """Send a mirror with the user's own key and server.

    Raises: subprocess.TimeoutExpired: it does not end. RuntimeError: the server refuses.
    """
    with tempfile.TemporaryDirectory() as scratch:  # for logs that name the user
        variables = {"WANDB_DIR": scratch, "WANDB_CACHE_DIR": scratch, "WANDB_DATA_DIR": str(mirror / "data")}
        done = subprocess.run(  # noqa: S603 - a fixed command
            [sys.executable, "-m", "wandb", "sync", str(mirror.resolve())],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,  # or it would ask for a key
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SYNC_SECONDS,
            check=False,
        )
    if done.returncode or not list(mirror.glob("*/*.synced")):
        output = re.sub(r"<[^>]*>|^wandb: (ERROR )?", "", done.stdout.decode("utf-8", "replace"), flags=re.MULTILINE)
        raise RuntimeError(([line for line in output.splitlines() if line.strip()] or ["wandb sync failed"])[-1])


def _reach(url: str) -> None:
    """Return once the server has answered anything. Raises: OSError: it has not, within REACH_SECONDS."""
    answers: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
    # In a thread, because looking up a name on a machine without a network keeps to no time limit.
    threading.Thread(target=lambda: answers.put(_answer(url)), daemon=True).start()
    try:
        failure = answers.get(timeout=REACH_SECONDS)
    except queue.Empty:
        failure = TimeoutError(f"no answer in {REACH_SECONDS:g} s")
    if failure:
        raise OSError(f"{url} cannot be reached: {failure}")


def _answer(url: str) -> OSError | None:
    try:
        urllib.request.urlopen(url, timeout=REACH_SECONDS).close()  # noqa: S310 - the user's own W&B server
    except urllib.error.HTTPError:
        return None
    except urllib.error.URLError as error:
        return None if isinstance(error.reason, ssl.SSLError) else error  # wandb has its own certificates
    except OSError as error:
        return error
    return None


def reason(error: Exception) -> str:
    """Say what went wrong, in one short line without a key."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not sent within {error.timeout:g} s"
    text = f"{type(error).__name__}: {error}"
    key = os.environ.get("WANDB_API_KEY")
    return textwrap.shorten(text.replace(key, "***") if key else text, 200)
