"""A Ray cluster: one of this machine alone, which is gone with the command, or a running one by its address.

With `cdeval.study.ray_pool` the only module that knows Ray (extra `[ray]`).
"""

import atexit
import importlib
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType

import psutil

from cdeval.assets.extras import how_to_install
from cdeval.errors import CdevalError, WorkerError, one_line
from cdeval.store.locks import is_locked, try_lock

# The objects that cross process borders here are texts: Ray's own share of the memory, a third of it, would be idle.
OBJECT_STORE_BYTES = 128 << 20
# A socket's path has at most 107 bytes, of which Ray's names below its folder take up to 70.
LONGEST_FOLDER = 36
_LOCK = "lock"  # of the private folder: held while its process lives


@dataclass(frozen=True, slots=True)
class Workers:
    """The number of worker processes, and what each may use."""

    workers: int
    threads: int  # cores of one
    gpus: float  # of one; a fraction shares a GPU
    address: str | None = None  # of a running cluster, or auto; None: one on this machine


def _ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return importlib.import_module("ray")  # an extra, and a second
    except ImportError as error:
        raise WorkerError(
            f"execution=ray needs Ray, which is not installed: {how_to_install('ray')}, or leave execution=ray out."
        ) from error


@contextmanager
def ray_cluster(workers: Workers, say: Callable[[str], None] = lambda _line: None) -> Iterator[ModuleType]:
    """Connect to the cluster for these workers; a connection that this process has already is used, and stays.

    Args: say: told where an embedded one listens, if others can reach it.

    Raises: WorkerError: Ray is not installed, or there is no such cluster.
    """
    ray = _ray()
    if ray.is_initialized():  # by a program around cdeval, whose it stays
        yield ray
        return
    quiet = {"log_to_driver": False, "logging_level": "error"}
    if workers.address is not None:
        try:
            with _own_handlers():
                ray.init(address=workers.address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise WorkerError(
                f"execution.address={workers.address}: no Ray cluster answers there ({reason(error)}). Start one with "
                "`ray start --head`, or leave execution.address out for one on this machine."
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()
        return
    with _embedded(ray, workers, quiet, say):
        yield ray


@contextmanager
def _embedded(
    ray: ModuleType, workers: Workers, quiet: Mapping[str, object], say: Callable[[str], None]
) -> Iterator[None]:
    """Run a cluster of this machine alone. Raises: WorkerError: it cannot be started."""
    folder, others = _private_folder(), _listening()
    try:
        with _own_handlers(), _on_loopback():
            ray.init(
                address="local",
                num_cpus=workers.workers * workers.threads,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(folder / "ray"),
                _node_ip_address="127.0.0.1",
                **quiet,
            )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise WorkerError(f"Ray cannot be started on this machine: {reason(error)}") from error
    reached = sorted({address for _, address in _listening() - others if not _is_loopback(address)})
    if reached:
        say(
            f"Ray listens on {', '.join(reached)}: who reaches this machine there needs the token of this command to "
            "do anything, but close these ports to others"
        )
    try:
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder / "ray", ignore_errors=True)


def _listening() -> set[tuple[int, str]]:
    """List processes of this command with the addresses on which they wait for connections."""
    found = set()
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.Error):  # it ended, or the system does not say
            sockets = process.net_connections(kind="inet")
            found |= {(process.pid, one.laddr.ip) for one in sockets if one.status == psutil.CONN_LISTEN}
    return found


def _is_loopback(address: str) -> bool:
    """Tell whether only this machine reaches an address; IPv4 addresses may be written as IPv6 ones."""
    found = ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let a cluster of this machine listen on 127.0.0.1 alone.

    Ray replaces that address by one that other machines reach, unless it takes clusters of several machines for
    switched off, as it does on macOS and Windows so that no firewall asks. There is no argument for it, and its
    environment variable is read when Ray is imported, which a program around cdeval may have done.
    """
    constants = importlib.import_module("ray._private.ray_constants")
    before = getattr(constants, "ENABLE_RAY_CLUSTER", None)
    constants.ENABLE_RAY_CLUSTER = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before  # type: ignore[attr-defined]


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep the handler of SIGTERM: Ray's would exit at once, and the command first finishes and stores what runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@cache
def _private_folder() -> Path:
    """Make a folder that only this user can enter, for Ray's logs, sockets and token, until the process ends.

    Ray opens its folder to everybody and would keep the token, readable by all, in the home folder. It reads the token
    once a process: one that changed would shut the second study of a command out of its own cluster.
    """
    system = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="cd-", dir=system if len(system) <= LONGEST_FOLDER - 12 else "/tmp"))  # noqa: S108
    _sweep_folders(folder.parent)
    try_lock(os.open(folder / "new", os.O_RDWR | os.O_CREAT, 0o600))  # held until the process ends, however it ends
    (folder / "new").rename(folder / _LOCK)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    token = folder / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    os.environ.setdefault("RAY_AUTH_TOKEN_PATH", str(token))
    return folder


def _sweep_folders(parent: Path) -> None:
    """Delete the folders of commands that were killed and could not do so: they hold tokens."""
    for folder in parent.glob("cd-*"):
        with suppress(OSError):
            mine = not folder.is_symlink() and folder.stat().st_uid == os.getuid()
            if mine and (folder / _LOCK).is_file() and not is_locked(folder / _LOCK):
                shutil.rmtree(folder, ignore_errors=True)


def reason(error: BaseException) -> str:
    """Put an exception on one line; those of cdeval speak for themselves, others are named by their type."""
    return one_line(error) if isinstance(error, CdevalError) else f"{type(error).__name__}: {one_line(error)}"
