"""W&B as a mirror of finished run folders: one W&B run a point, grouped by study. The files stay the truth.

A point is always mirrored offline first, into `<run folder>/wandb`; `mode=online` then sends that mirror with
`wandb sync`, in a process of its own that can be given up. The network thus decides only whether the mirror is sent now
or later. (Measured with wandb 0.31: without a network, an online `wandb.init` blocks for 100 s.)

Nothing is mirrored that was not asked for: no console output, code, git, command line, host name or system statistics.
While the mirror is written wandb sees none of the user's WANDB_* variables, so no key can reach a file; only the
process that sends it is given them.
"""

import hashlib
import json
import math
import os
import queue
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import tempfile
import textwrap
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cdeval.choices import WandbMode
from cdeval.config import TrackingConfig
from cdeval.records import Generation
from cdeval.strictjson import to_line, to_page

HIGHER_IS_BETTER = frozenset({"diversity", "mauve", "mauve_star", "coherence", "coherence_loglik"})
LOWER_IS_BETTER = frozenset(
    {"perplexity_expert", "frontier_integral", "flops_per_token", "flops_overhead", "decode_seconds_per_token"}
    | {"latency_overhead", "memory_bytes"}
)
REACH_SECONDS = 4.0  # for the server to answer at all
SYNC_SECONDS = 120.0  # for sending one point

# What wandb would add on its own accord, and where it would add it.
_SETTINGS: dict[str, Any] = {
    "mode": "offline",
    "reinit": "create_new",  # a W&B run of the caller's own stays as it is
    "console": "off",
    "silent": True,
    "quiet": True,
    "symlink": False,
    "save_code": False,
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "host": "",
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "init_timeout": 30,
}


class Point(NamedTuple):
    """A finished run, as it is mirrored."""

    study: str  # group of the W&B run
    label: str  # its name; study, label and config make its id, so that a repeated point replaces itself
    folder: Path  # the run folder; all of its `wandb/` is the mirror
    config: Mapping[str, object]  # the settings, to search by
    summary: Mapping[str, float]  # numbers by name; those that are not finite are left out
    texts: Sequence[Generation]  # become a table


def track_point(config: TrackingConfig, point: Point) -> str | None:
    """Mirror one finished point to W&B. Never raises: whatever fails, the results are on disk already.

    Returns: None when all went well, else one line: what did not, and how to send the mirror later.
    """
    mirror = point.folder / "wandb"
    name = " ".join(point.label.split())
    try:
        # An earlier mirror would be sent along with this one, and a half one would pass for a whole.
        if mirror.exists():
            shutil.rmtree(mirror)
        _write(mirror, config, point)
    except Exception as error:
        shutil.rmtree(mirror, ignore_errors=True)
        return f"W&B has no copy of {name} ({_reason(error)}); its results are complete in {point.folder}."
    if config.mode is WandbMode.online:
        try:
            _send(mirror)
        except Exception as error:
            command = f"wandb sync {shlex.quote(str(mirror))}"
            return f"W&B has not received {name} ({_reason(error)}); to send it later: {command}"
    return None


def _write(mirror: Path, config: TrackingConfig, point: Point) -> None:
    """Write the offline run: settings, one row of numbers with the table of texts, and the summary."""
    mirror.mkdir(parents=True)  # wandb itself would go elsewhere when it cannot
    settings = json.loads(to_line(point.config))
    numbers = {name: float(value) for name, value in point.summary.items() if math.isfinite(value)}
    with _wandb_confined(mirror) as wandb:
        run = wandb.init(
            project=config.project,
            entity=config.entity,
            group=point.study,
            name=" ".join(point.label.split()),
            id=hashlib.sha256(to_page([point.study, point.label, settings])).hexdigest()[:16],
            config=settings,
            settings=wandb.Settings(root_dir=str(mirror.parent.resolve()), **_SETTINGS),
        )
        try:
            for name in numbers.keys() & (HIGHER_IS_BETTER | LOWER_IS_BETTER):
                run.define_metric(name, summary="max" if name in HIGHER_IS_BETTER else "min")
            run.log({**numbers, "continuations": _table(wandb.Table, point.texts)})
            run.summary.update(numbers)  # plain numbers, not the {"max": …} that define_metric makes of them
        finally:
            run.finish()


def _table(table: Any, texts: Sequence[Generation]) -> Any:
    rows = [[item.id, item.prompt, item.continuation, item.reference] for item in texts]
    cells = [[None if cell is None else cell.encode("utf-8", "replace").decode() for cell in row] for row in rows]
    return table(columns=["id", "prompt", "continuation", "reference"], data=cells)


@contextmanager
def _wandb_confined(mirror: Path) -> Iterator[Any]:
    """wandb, with all its files in `mirror` and blind to the user's W&B variables, keys first; all is put back."""
    given = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    ours = {f"WANDB_{kind}_DIR": str(mirror.resolve() / kind.lower()) for kind in ("CACHE", "DATA", "CONFIG")}
    excepthook = sys.excepthook
    _replace_variables({**ours, "WANDB_ERROR_REPORTING": "false"})
    try:
        with _wandb() as wandb:
            yield wandb
    finally:
        _replace_variables(given)
        sys.excepthook = excepthook


@contextmanager
def _wandb() -> Iterator[Any]:
    """wandb, and its service ended afterwards: it would keep the settings of this point for the next."""
    import wandb  # noqa: PLC0415 - slow to import, and a run without tracking does not need it

    in_use = wandb.run is not None  # by the caller, for purposes of its own
    try:
        yield wandb
    finally:
        if not in_use:
            wandb.teardown()


def _replace_variables(variables: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        del os.environ[name]
    os.environ.update(variables)


def _send(mirror: Path) -> None:
    """Send the mirror with the user's own key and server.

    Raises: OSError: the server does not answer. subprocess.TimeoutExpired: it does not end. RuntimeError: it refuses.
    """
    with _wandb() as wandb:
        server = wandb.setup(wandb.Settings(mode="disabled")).settings.base_url  # disabled: starts no service
    _reach(server)
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


def _reason(error: Exception) -> str:
    """What went wrong, in one short line without a key."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"not sent within {error.timeout:g} s"
    text = f"{type(error).__name__}: {error}"
    key = os.environ.get("WANDB_API_KEY")
    return textwrap.shorten(text.replace(key, "***") if key else text, 200)
