"""Workers that do not answer are named in time, and replaced late; those that compute are left alone."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cdeval.config.schema import ExecutionConfig
from cdeval.study import ray_pool
from cdeval.study.heartbeats import Heartbeats
from cdeval.study.ray_cluster import Workers
from cdeval.study.ray_pool import RayPool, WorkerReport
from tests.study.test_retries import Work, finish


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def beats(clock: Clock, lines: list[str], **limits: float | None) -> Heartbeats:
    found = Heartbeats(ExecutionConfig(**limits), lines.append, clock)  # type: ignore[arg-type]
    found.began(1, "64 texts")
    return found


def test_silence_is_said_once_and_then_costs_the_worker_its_place(clock: Clock) -> None:
    lines: list[str] = []
    found = beats(clock, lines)
    found.asked(1)
    found.answered(1, "process 7 of host")
    clock.now = 5.0
    found.asked(1)
    lost = {}
    for second in range(6, 700):
        clock.now = float(second)
        lost = found.lost()
        if lost:
            break
    assert clock.now == 605.0
    assert lost == {1: "Ray worker 2 (process 7 of host) did not answer for 600 s and was replaced"}
    assert lines == [
        "Ray worker 2 (process 7 of host) has not answered for 60 s and holds 64 texts: after 600 s "
        "(execution.replaced_s) it is replaced, and its work is done again"
    ]


def test_without_a_limit_a_worker_is_named_and_waited_for(clock: Clock) -> None:
    lines: list[str] = []
    found = beats(clock, lines, replaced_s=None)
    found.asked(1)
    for clock.now in (59.0, 60.0, 1e6):
        assert found.lost() == {}
    assert len(lines) == 1
    assert lines[0].endswith("holds 64 texts: it is waited for (execution.replaced_s=null)")
    found.answered(1)
    assert lines[1] == "Ray worker 2 answers again, after 1000000 s"


def test_a_worker_that_answers_may_compute_for_days(clock: Clock) -> None:
    """A first batch on slow hardware: told of now and then, at doubling distances, and never replaced."""
    lines: list[str] = []
    found = beats(clock, lines)
    for _ in range(2 * 24 * 720):
        found.asked(1)
        clock.now += 5.0
        found.answered(1)
        assert found.lost() == {}
    assert lines[0] == "Ray worker 2 answers, and has worked 600 s on 64 texts"
    assert [line.split()[7] for line in lines] == [str(600 * 2**i) for i in range(9)]


def test_silence_of_the_asker_is_none_of_the_worker(clock: Clock) -> None:
    """A command that was stopped, or that wrote to a slow disk, for an hour has asked nobody."""
    found = beats(clock, [])
    clock.now = 3600.0
    found.asked(1)
    assert found.lost() == {}


class Ref:
    def __init__(self, value: Any = None) -> None:
        self.value, self.ready = value, False


class FakeRay:
    """Actors that answer at once, but for the process that hangs: it is never ready, whatever it is asked."""

    class exceptions:  # noqa: N801 - as Ray calls it
        class RayError(Exception): ...

        class RayActorError(RayError): ...

    def __init__(self, clock: Clock, hangs: Callable[[int], bool]) -> None:
        self.clock, self.hangs = clock, hangs
        self.processes = 0
        self.killed: list[int] = []

    def remote(self, **_options: object) -> Any:
        return lambda _kind: SimpleNamespace(options=lambda **_more: SimpleNamespace(remote=self._actor))

    def _actor(self, _build: object) -> Any:
        process = self.processes
        self.processes += 1

        def call(make: Callable[..., Any], *, ever: bool) -> Any:
            def remote(*given: Any) -> Ref:
                ref = Ref(make(*given))
                ref.ready = ever or not self.hangs(process)
                return ref

            return SimpleNamespace(remote=remote, options=lambda **_group: SimpleNamespace(remote=remote))

        return SimpleNamespace(
            process=process,
            __ray_ready__=call(lambda: True, ever=True),
            work=call(lambda worker, work: WorkerReport(worker, sum(work)), ever=False),
            name=call(lambda: f"process {process}", ever=False),
        )

    def wait(self, refs: list[Ref], num_returns: int = 1, timeout: float = 0.0) -> tuple[list[Ref], list[Ref]]:
        ready = [ref for ref in refs if ref.ready][:num_returns]
        if not ready:
            self.clock.now += timeout
        return ready, [ref for ref in refs if ref not in ready]

    def get(self, ref: Ref) -> Any:
        return ref.value

    def kill(self, actor: Any) -> None:
        self.killed.append(actor.process)


def test_a_hanging_worker_is_replaced_and_nothing_is_lost(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: reports(), which waited without end for a process that neither died nor answered."""
    monkeypatch.setattr(ray_pool.time, "monotonic", clock)
    lines: list[str] = []
    ray = FakeRay(clock, hangs=lambda process: process == 1)
    heartbeats = Heartbeats(ExecutionConfig(), lines.append, clock)
    pool: RayPool[Work, int] = RayPool(cast("Any", ray), Workers(2, 1, 0.0), lambda: lambda work: work, heartbeats)
    found = list(finish(pool, [(number,) for number in range(6)], 2, lines.append))
    assert {one.unit: one.texts for one in found} == {(n,): n for n in range(6)}
    assert ray.killed == [1]
    assert ray.processes == 3, "another one has its place"
    assert sum("has not answered for 6" in line for line in lines) == 1
    assert 600 <= clock.now < 700
