"""A pool of Ray actors: processes that each open their models once and then work on whatever they are given.

With `cdeval.study.ray_cluster` the only module that knows Ray (extra `[ray]`). An actor that dies, or that does not
answer for long (`cdeval.study.heartbeats`), is replaced by a new one, never restarted with its task: what it was
working on is reported as failed, and `cdeval.study.workers` decides what becomes of it. Nothing that an actor does is
kept in it, so a piece of work that runs twice makes the same answer twice.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any, Generic, NamedTuple, TypeVar

from cdeval.errors import WorkerError
from cdeval.study.heartbeats import Heartbeats, Silence
from cdeval.study.ray_cluster import Crew, ray_cluster
from cdeval.study.workers import Pool, Report, attempted, reason

W = TypeVar("W")
R = TypeVar("R")

_BESIDE = "beside"  # the group of threads of an actor that answers while it works
PULSE_SECONDS = 5.0  # between two questions to a worker whether it is there
ROOM_SECONDS = 60  # for an actor to find a machine; opening its models is not part of it


class Telling(NamedTuple, Generic[W]):
    """What the user hears of the workers, and when."""

    say: Callable[[str], None] = lambda _line: None  # takes one line
    holds: Callable[[W], str] = str  # describes a piece of work
    silence: Silence = Silence()  # how long one may not answer


@contextmanager
def ray_pool(
    crew: Crew, build: Callable[[], Callable[[W], R]], telling: Telling[W] | None = None
) -> Iterator[Pool[W, R]]:
    """Actors that work by what `build` makes in them.

    Args:
        crew: how many, and where.
        build: called once in each actor, before its first work; it and all work must be picklable, and the package
            importable there.
        telling: what is said of workers that do not answer, and where Ray listens.

    Raises: WorkerError: Ray is not installed, there is no such cluster, or it has no room for them; later, from the
        pool's reports, that `build` failed in an actor.
    """
    telling = telling or Telling()
    with ray_cluster(crew, telling.say) as ray:
        _check_room(ray, crew)
        pool: RayPool[W, R] = RayPool(ray, crew, build, telling)
        try:
            yield pool
        finally:
            pool.dismiss()


class RayPool(Generic[W, R]):
    """Actors by number (`cdeval.study.workers.Pool`)."""

    def __init__(self, ray: ModuleType, crew: Crew, build: Callable[[], Callable[[W], R]], telling: Telling[W]) -> None:
        self._ray, self._build, self.size = ray, build, crew.workers
        threads = str(crew.threads)  # Ray would set 1
        self._kind = ray.remote(concurrency_groups={_BESIDE: 1})(_Actor).options(
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
        self._asked: dict[int, Any] = {}  # the answers that are waited for beside the work, by number
        self._holds = telling.holds
        self._beats = Heartbeats(telling.silence, telling.say)
        self._pulse = min(PULSE_SECONDS, telling.silence.said_s / 4)
        self._looked = time.monotonic()

    def _start(self, worker: int) -> None:
        self._actors[worker] = self._kind.remote(self._build)
        self._started[worker] = self._actors[worker].__ray_ready__.remote()

    def give(self, worker: int, work: W) -> None:
        """Send work to an idle actor."""
        self._running[self._actors[worker].work.remote(worker, work)] = worker
        self._asked.pop(worker, None)
        self._beats.began(worker, self._holds(work))

    def reports(self) -> list[Report[R]]:
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

    def _replaced(self, worker: int, why: str) -> Report[R]:
        """End a worker that does not answer: Ray kills its process where it does not end by itself."""
        self._running = {done: other for done, other in self._running.items() if other != worker}
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actors[worker])
        self._restart(worker)
        return Report(worker, problem=why, died=True)

    def _restart(self, worker: int) -> None:
        self._beats.replaced(worker)
        self._asked.pop(worker, None)
        self._start(worker)

    def _report(self, done: Any) -> Report[R]:
        """What came of a piece of work. Raises: WorkerError: the worker could not be built."""
        worker = self._running.pop(done)
        self._beats.ended(worker)
        try:
            report: Report[R] | _Unbuilt = self._ray.get(done)
        except self._ray.exceptions.RayActorError:
            self._restart(worker)
            return Report(worker, problem="its worker process died", died=True)
        except self._ray.exceptions.RayError as error:  # an answer that was lost on its way
            return Report(worker, problem=reason(error))
        if isinstance(report, _Unbuilt):
            raise WorkerError(f"a worker cannot begin: {report.problem}")
        return report

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

    def name(self) -> str:
        """Which process this is; answered beside the work."""
        return f"process {os.getpid()} of {socket.gethostname()}"


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
