"""A pool of Ray actors: processes that each open their models once and then work on whatever they are given.

With `cdeval.study.ray_cluster` this is the only module that knows Ray (extra `[ray]`). An actor that dies, or that does
not answer for long, is replaced by a new one, never restarted with its task: what it was working on is reported as
failed, and `cdeval.study.ray` decides what becomes of it. Nothing that an actor does is kept in it, so a piece of work
that runs twice makes the same answer twice.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, TypeVar

from cdeval.config.schema import ExecutionConfig
from cdeval.errors import WorkerError
from cdeval.study.heartbeats import Heartbeats
from cdeval.study.ray_cluster import Workers, ray_cluster, reason

W = TypeVar("W")
R = TypeVar("R")

_BESIDE = "beside"  # the group of threads of an actor that answers while it works
PULSE_SECONDS = 5.0  # between two questions to a worker whether it is there
ROOM_SECONDS = 60  # for an actor to find a machine; opening its models is not part of it


@dataclass(frozen=True, slots=True)
class WorkerReport(Generic[R]):
    """The outcome of the work that a worker was given."""

    worker: int
    answer: R | None = None
    problem: str | None = None  # why there is no answer, on one line
    died: bool = False  # the worker is gone, and has been replaced
    unbuilt: bool = False  # the worker cannot begin at all


@contextmanager
def ray_pool(
    workers: Workers, build: Callable[[], Callable[[W], R]], execution: ExecutionConfig, say: Callable[[str], None]
) -> Iterator["RayPool[W, R]"]:
    """Start actors that do what `build` makes in them, and end them with the context.

    Args:
        workers: how many, and where.
        build: called once in each actor, before its first work; it and all work must be picklable, and the package
            importable there.
        execution: says how long a worker may be silent.
        say: takes one line, of workers that do not answer and of where Ray listens.

    Raises: WorkerError: Ray is not installed, there is no such cluster, or it has no room for them; later, from the
        pool's reports, that `build` failed in an actor.
    """
    with ray_cluster(workers, say) as ray:
        _check_room(ray, workers)
        pool = RayPool(ray, workers, build, Heartbeats(execution, say))
        try:
            yield pool
        finally:
            pool.dismiss()


class RayPool(Generic[W, R]):
    """Actors, numbered from 0, each with at most one piece of work."""

    def __init__(
        self, ray: ModuleType, workers: Workers, build: Callable[[], Callable[[W], R]], beats: Heartbeats
    ) -> None:
        self._ray, self._build, self.size = ray, build, workers.workers
        threads = str(workers.threads)  # Ray would set 1
        self._kind = ray.remote(concurrency_groups={_BESIDE: 1})(_Actor).options(
            num_cpus=workers.threads,
            num_gpus=workers.gpus,
            max_restarts=0,
            max_task_retries=0,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}},
        )
        self._actors: list[Any] = [None] * self.size
        self._started: list[Any] = [None] * self.size  # answers once the actor has found a machine
        for worker in range(self.size):
            self._start(worker)
        self._running: dict[Any, int] = {}  # what an actor is working on -> its number
        self._asked: dict[int, Any] = {}  # the answers that are waited for beside the work, by number
        self._beats = beats
        self._pulse = min(PULSE_SECONDS, beats.silence_s / 4)
        self._looked = time.monotonic()

    def _start(self, worker: int) -> None:
        self._actors[worker] = self._kind.remote(self._build)
        self._started[worker] = self._actors[worker].__ray_ready__.remote()

    def give(self, worker: int, work: W) -> None:
        """Send work to an idle actor."""
        self._running[self._actors[worker].work.remote(worker, work)] = worker
        self._asked.pop(worker, None)
        self._beats.began(worker, str(work))

    def reports(self) -> list[WorkerReport[R]]:
        """Wait for one of them. Raises: WorkerError: it could not be built, or no machine has room for any of them."""
        waited = time.monotonic()
        while True:
            ready, _ = self._ray.wait(list(self._running), num_returns=1, timeout=self._pulse)
            if time.monotonic() - self._looked >= self._pulse:
                self._looked = time.monotonic()
                self._ask()
                replaced = [self._replaced(worker, why) for worker, why in self._beats.lost().items()]
                if replaced:
                    return replaced
            if ready:
                return [self._report(ready[0])]
            if time.monotonic() - waited >= ROOM_SECONDS:
                waited = time.monotonic()
                self._check_started()

    def _ask(self) -> None:
        """Hear who answers beside its work; one that has found no machine yet has nothing to answer with."""
        for worker in self._running.values():
            asked = self._asked.pop(worker, None)
            started, _ = self._ray.wait([self._started[worker]], timeout=0)
            if not started:
                self._beats.answered(worker)
                continue
            if asked is not None:
                answered, _ = self._ray.wait([asked], timeout=0)
                if not answered:
                    self._asked[worker] = asked
                    continue
                try:
                    self._beats.answered(worker, self._ray.get(asked))
                except self._ray.exceptions.RayError:  # it died, which its work reports
                    self._beats.answered(worker)
            self._asked[worker] = self._actors[worker].name.options(concurrency_group=_BESIDE).remote()
            self._beats.asked(worker)

    def _replaced(self, worker: int, why: str) -> WorkerReport[R]:
        """End a worker that does not answer: Ray kills its process where it does not end by itself."""
        self._running = {done: other for done, other in self._running.items() if other != worker}
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actors[worker])
        self._restart(worker)
        return WorkerReport(worker, problem=why, died=True)

    def _restart(self, worker: int) -> None:
        self._beats.replaced(worker)
        self._asked.pop(worker, None)
        self._start(worker)

    def _report(self, done: Any) -> WorkerReport[R]:
        """Read what came of a piece of work. Raises: WorkerError: the worker could not be built."""
        worker = self._running.pop(done)
        self._beats.ended(worker)
        try:
            report: WorkerReport[R] = self._ray.get(done)
        except self._ray.exceptions.RayActorError:
            self._restart(worker)
            return WorkerReport(worker, problem="its worker process died", died=True)
        except self._ray.exceptions.RayError as error:  # an answer that was lost on its way
            return WorkerReport(worker, problem=reason(error))
        if report.unbuilt:
            raise WorkerError(f"a worker cannot begin: {report.problem}")
        return report

    def _check_started(self) -> None:
        """Check that a worker has started. Raises: WorkerError: none has found a machine, so there will be no work."""
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


class _Actor(Generic[W, R]):
    """One worker process. Errors come back as values, so that none has to survive being pickled."""

    def __init__(self, build: Callable[[], Callable[[W], R]]) -> None:
        self._build = build
        self._act: Callable[[W], R] | None = None

    def work(self, worker: int, work: W) -> WorkerReport[R]:
        if self._act is None:
            try:
                self._act = self._build()
            except Exception as error:
                return WorkerReport(worker, problem=reason(error), unbuilt=True)
        return attempted(self._act, worker, work)

    def name(self) -> str:
        """Name the process; answered beside the work."""
        return f"process {os.getpid()} of {socket.gethostname()}"


def attempted(act: Callable[[W], R], worker: int, work: W) -> WorkerReport[R]:
    """Report on a piece of work, whatever happens to it."""
    try:
        return WorkerReport(worker, act(work))
    except Exception as error:
        return WorkerReport(worker, problem=reason(error))


def _check_room(ray: ModuleType, workers: Workers) -> None:
    """Check the room. Raises: WorkerError: the cluster is too small, and its actors would never start."""
    has = ray.cluster_resources()
    for name, setting, each in (("CPU", "threads", workers.threads), ("GPU", "gpus", workers.gpus)):
        needed = workers.workers * each
        if needed > has.get(name, 0):
            raise WorkerError(
                f"execution.workers={workers.workers} with execution.{setting}={each:g} take {needed:g} {name}s, and "
                f"the Ray cluster has {has.get(name, 0):g}: lower one of them."
            )
