"""A pool of Ray actors: processes that each open their models once and then work on whatever they are given.

The only module that knows Ray (extra `[ray]`). A cluster is embedded, on this machine alone and gone with the command,
unless an address is given. An actor that dies is replaced by a new one, never restarted with its task: what it was
working on is reported as failed, and `cdeval.workers` decides what becomes of it. Nothing that an actor does is kept
in it, so a piece of work that runs twice makes the same answer twice.
"""

import atexit
import importlib
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, NamedTuple, TypeVar

from cdeval.errors import WorkerError
from cdeval.locks import is_locked, try_lock
from cdeval.workers import Pool, Report, attempted, reason

W = TypeVar("W")
R = TypeVar("R")

# The objects that cross process borders here are texts: Ray's own share of the memory, a third of it, would be idle.
OBJECT_STORE_BYTES = 128 << 20
# A socket's path has at most 107 bytes, of which Ray's names below its folder take up to 70.
LONGEST_FOLDER = 36
_LOCK = "lock"  # of the private folder: held while its process lives
ROOM_SECONDS = 60  # for an actor to find a machine; opening its models is not part of it


@dataclass(frozen=True, slots=True)
class Crew:
    """How many actors, and what each may use."""

    workers: int
    threads: int  # cores of one
    gpus: float  # of one; a fraction shares a GPU
    address: str | None = None  # of a running cluster, or auto; None: an embedded one


@contextmanager
def ray_pool(crew: Crew, build: Callable[[], Callable[[W], R]]) -> Iterator[Pool[W, R]]:
    """Actors that work by what `build` makes in them.

    Args:
        crew: how many, and where.
        build: called once in each actor, before its first work; it and all work must be picklable, and the package
            importable there.

    Raises: WorkerError: Ray is not installed, there is no such cluster, or it has no room for them; later, from the
        pool's reports, that `build` failed in an actor.
    """
    ray = _ray()
    with ray_cluster(crew):
        _check_room(ray, crew)
        pool: RayPool[W, R] = RayPool(ray, crew, build)
        try:
            yield pool
        finally:
            pool.dismiss()


class RayPool(Generic[W, R]):
    """Actors by number (`cdeval.workers.Pool`)."""

    def __init__(self, ray: ModuleType, crew: Crew, build: Callable[[], Callable[[W], R]]) -> None:
        self._ray, self._build, self.size = ray, build, crew.workers
        threads = str(crew.threads)  # Ray would set 1
        self._kind = ray.remote(_Actor).options(
            num_cpus=crew.threads,
            num_gpus=crew.gpus,
            max_restarts=0,
            max_task_retries=0,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}},
        )
        self._actors: list[Any] = [None] * self.size
        self._started: list[Any] = [None] * self.size  # answers once the actor has found a machine
        for worker in range(self.size):
            self._start(worker)
        self._running: dict[Any, int] = {}  # what an actor is working on -> its number

    def _start(self, worker: int) -> None:
        self._actors[worker] = self._kind.remote(self._build)
        self._started[worker] = self._actors[worker].__ray_ready__.remote()

    def give(self, worker: int, work: W) -> None:
        """Send work to an idle actor."""
        self._running[self._actors[worker].work.remote(worker, work)] = worker

    def reports(self) -> list[Report[R]]:
        """Wait for one of them. Raises: WorkerError: it could not be built, or no machine has room for any of them."""
        ready: list[Any] = []
        while not ready:
            ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=ROOM_SECONDS)
            if not ready:
                self._check_started()
        worker = self._running.pop(ready[0])
        try:
            report: Report[R] | _Unbuilt = self._ray.get(ready[0])
        except self._ray.exceptions.RayActorError:
            self._start(worker)
            return [Report(worker, problem="its worker process died", died=True)]
        except self._ray.exceptions.RayError as error:  # an answer that was lost on its way
            return [Report(worker, problem=reason(error))]
        if isinstance(report, _Unbuilt):
            raise WorkerError(f"a worker cannot begin: {report.problem}")
        return [report]

    def _check_started(self) -> None:
        """Raises: WorkerError: those that are waited for have found no machine, so nothing will ever come of them."""
        awaited = [self._started[worker] for worker in self._running.values()]
        started, _ = self._ray.wait(awaited, num_returns=1, timeout=0)
        if not started:
            raise WorkerError(
                f"the Ray cluster has had no room for a worker for {ROOM_SECONDS} s: others use it, or machines have "
                "left it. Lower execution.workers and run the same command again: everything finished is stored."
            )

    def dismiss(self) -> None:
        """End all of them, whatever they are doing."""
        for actor in self._actors:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)


class _Unbuilt(NamedTuple):
    problem: str


class _Actor(Generic[W, R]):
    """One worker process. Errors come back as values, so that none has to survive being pickled."""

    def __init__(self, build: Callable[[], Callable[[W], R]]) -> None:
        self._build = build
        self._act: Callable[[W], R] | None = None

    def work(self, worker: int, work: W) -> Report[R] | _Unbuilt:
        if self._act is None:
            try:
                self._act = self._build()
            except Exception as error:
                return _Unbuilt(reason(error))
        return attempted(self._act, worker, work)


def _ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return importlib.import_module("ray")  # an extra, and a second
    except ImportError as error:
        raise WorkerError(
            "execution=ray needs Ray, which is not installed: pip install 'cdeval[ray]' (from a checkout: "
            "pip install -c constraints.txt -e '.[ray]'), or leave execution=ray out."
        ) from error


@contextmanager
def ray_cluster(crew: Crew) -> Iterator[None]:
    """A connection to the crew's cluster; one that this process has already is used, and stays.

    Raises: WorkerError: Ray is not installed, or there is no such cluster.
    """
    ray = _ray()
    if ray.is_initialized():  # by a program around cdeval, whose it stays
        yield
        return
    quiet = {"log_to_driver": False, "logging_level": "error"}
    if crew.address is not None:
        try:
            with _own_handlers():
                ray.init(address=crew.address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise WorkerError(
                f"execution.address={crew.address}: no Ray cluster answers there ({reason(error)}). Start one with "
                "`ray start --head`, or leave execution.address out for one on this machine."
            ) from error
        try:
            yield
        finally:
            ray.shutdown()
        return
    folder = _private_folder()
    try:
        with _own_handlers():
            ray.init(
                address="local",
                num_cpus=crew.workers * crew.threads,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(folder / "ray"),
                _node_ip_address="127.0.0.1",
                **quiet,
            )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise WorkerError(f"Ray cannot be started on this machine: {reason(error)}") from error
    try:
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder / "ray", ignore_errors=True)


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Ray takes SIGTERM for itself and would exit at once; the command finishes and stores what runs first."""
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
    """A short-named folder that only this user can enter, for Ray's logs, sockets and token, until the process ends.

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


def _check_room(ray: ModuleType, crew: Crew) -> None:
    """Actors without room would be waited for without end."""
    has = ray.cluster_resources()
    for name, setting, each in (("CPU", "threads", crew.threads), ("GPU", "gpus", crew.gpus)):
        needed = crew.workers * each
        if needed > has.get(name, 0):
            raise WorkerError(
                f"execution.workers={crew.workers} with execution.{setting}={each:g} take {needed:g} {name}s, and the "
                f"Ray cluster has {has.get(name, 0):g}: lower one of them."
            )
