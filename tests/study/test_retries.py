"""Handing out work: every piece once, failures bounded, the culprit alone and by name."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator

import pytest

from cdeval.errors import ConfigError, WorkerError
from cdeval.store.signals import Stop
from cdeval.study import ray
from cdeval.study.ray import DEATHS_A_WORKER, FinishedWork
from cdeval.study.ray_pool import WorkerReport, attempted


class Work(tuple[int, ...]):
    """Numbers in place of the texts of a unit."""

    def by_text(self) -> list["Work"]:
        return [Work([one]) for one in self]


def finish(
    pool: object, works: Iterable[tuple[int, ...]], tries: int, say: Callable[[str], None] = print, stop: object = None
) -> Iterator[FinishedWork]:
    return ray.finish(pool, map(Work, works), tries, stop or Stop(), say)  # type: ignore[arg-type]


class Fake:
    """Workers that finish in an order of their own, and die of what `deadly` says."""

    def __init__(self, size: int, deadly: Callable[[Work], bool] = lambda _work: False) -> None:
        self.size, self._deadly = size, deadly
        self._held: deque[tuple[int, Work]] = deque()
        self.given: list[Work] = []
        self.most = 0

    def give(self, worker: int, work: Work) -> None:
        assert worker not in dict(self._held), "a worker holds one piece of work"
        self._held.append((worker, work))
        self.given.append(work)
        self.most = max(self.most, len(self._held))

    def reports(self) -> list[WorkerReport[int]]:
        self._held.rotate(1)
        worker, work = self._held.popleft()
        if self._deadly(work):
            return [WorkerReport(worker, problem="it died", died=True)]
        return [WorkerReport(worker, sum(work))]


def test_every_piece_is_done_once_whatever_the_number_of_workers() -> None:
    works = [(1, 2), (3, 4), (5,), (6, 7)]
    for size in (1, 2, 3, 7):
        pool = Fake(size)
        found = list(finish(pool, works, 2))
        assert sorted(found) == [FinishedWork(work, sum(work)) for work in works]
        assert Counter(pool.given) == Counter(works)
        assert pool.most == min(size, len(works)), "no worker is left idle while there is work"


def test_works_are_taken_only_as_workers_become_idle() -> None:
    """A plan of millions of units must not be held in memory."""
    taken = []

    def works() -> Iterator[Work]:
        for number in range(100):
            taken.append(number)
            yield (number,)

    results = finish(Fake(2), works(), 2)
    next(results)
    assert len(taken) <= 3


def test_what_dies_once_is_tried_again() -> None:
    deaths = Counter[Work]()

    def once(work: Work) -> bool:
        deaths[work] += 1
        return work == (3, 4) and deaths[work] == 1

    pool = Fake(2, once)
    assert sorted(finish(pool, [(1, 2), (3, 4)], 2)) == [FinishedWork((1, 2), 3), FinishedWork((3, 4), 7)]
    assert pool.given.count((3, 4)) == 2


def test_what_always_dies_is_found_alone_and_the_rest_is_done() -> None:
    lines: list[str] = []
    pool = Fake(2, lambda work: 7 in work)
    found = list(finish(pool, [(1, 2), (6, 7, 8), (3, 4)], 3, lines.append))
    lost = [one for one in found if one.problem]
    assert lost == [FinishedWork((7,), None, "it died")]
    assert sorted(one.unit for one in found if not one.problem) == [(1, 2), (3, 4), (6,), (8,)]
    assert pool.given.count((6, 7, 8)) == pool.given.count((7,)) == 3
    assert any("3 parts one by one" in line for line in lines), "other batches may mean other bfloat16 texts: said"


def test_workers_that_die_of_everything_end_the_run() -> None:
    """Else a machine without memory would go on reading weights for ever."""
    pool = Fake(2, lambda _work: True)
    with pytest.raises(WorkerError, match="died one after the other"):
        list(finish(pool, [(number,) for number in range(10_000)], 2))
    assert len(pool.given) <= DEATHS_A_WORKER * 2 + 2


def test_scattered_deaths_never_end_the_run() -> None:
    pool = Fake(1, lambda work: work[0] % 2 == 1)
    found = list(finish(pool, [(number,) for number in range(100)], 1))
    assert sum(bool(one.problem) for one in found) == 50


def test_after_a_stop_what_runs_is_finished_and_no_more_is_begun() -> None:
    pool = Fake(2)
    found, stop = [], Stop()
    for one in finish(pool, [(number,) for number in range(10)], 2, stop=stop):
        stop.number = 15
        found.append(one)
    assert len(found) == len(pool.given) == 2


def test_what_a_worker_raises_becomes_a_line() -> None:
    def act(work: Work) -> int:
        if 2 in work:
            raise ConfigError("two is wrong")
        return 1 // work[0]

    assert attempted(act, 5, (1,)) == WorkerReport(5, answer=1)
    assert attempted(act, 5, (2,)) == WorkerReport(5, problem="two is wrong")
    assert attempted(act, 5, (0,)).problem == "ZeroDivisionError: integer division or modulo by zero"
