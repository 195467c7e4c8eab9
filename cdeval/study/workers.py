"""Work handed out to workers that may die: bounded tries, and what keeps failing is taken apart to find its culprit.

The loop knows neither models nor processes (`cdeval.study.ray_workers`), and never changes what a piece of work holds
while that can be done: so what is decoded together does not depend on how many workers there are.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from cdeval.errors import CdevalError, WorkerError

W = TypeVar("W")
R = TypeVar("R")
Given_contra = TypeVar("Given_contra", contravariant=True)

DEATHS_A_WORKER = 10  # one after the other with nothing finished in between: what dies then is no single piece of work


@dataclass(frozen=True, slots=True)
class Report(Generic[R]):
    """What a worker says of the work that it was given."""

    worker: int
    answer: R | None = None
    problem: str | None = None  # why there is no answer, on one line
    died: bool = False  # the worker is gone, and has been replaced


class Pool(Protocol[Given_contra, R]):
    """Workers, numbered from 0, each with at most one piece of work."""

    @property
    def size(self) -> int:
        """How many they are."""

    def give(self, worker: int, work: Given_contra) -> None:
        """Let an idle worker begin."""

    def reports(self) -> list[Report[R]]:
        """Wait until at least one of those that have work is done with it."""


class Done(NamedTuple, Generic[W, R]):
    """Work and what came of it."""

    work: W
    answer: R


class Lost(NamedTuple, Generic[W]):
    """Work that cannot be taken apart any further and failed every time."""

    work: W
    problem: str


class _Attempt(NamedTuple, Generic[W]):
    work: W
    tries: int  # that are left, this one included


@dataclass(frozen=True, slots=True)
class Rules(Generic[W]):
    """When work is given up."""

    tries: int  # of each piece, at least 1
    split: Callable[[W], Sequence[W]]  # takes failing work apart; what cannot be is its own only part
    stopping: Callable[[], bool] = lambda: False  # asked before each piece: no more is begun, what runs is finished
    say: Callable[[str], None] = lambda _line: None  # told when work is tried again or taken apart


def finish(pool: Pool[W, R], works: Iterable[W], rules: Rules[W]) -> Iterator[Done[W, R] | Lost[W]]:
    """Every piece of work with its answer, as they finish.

    Args:
        pool: who works.
        works: taken one by one as workers become idle, so there may be any number of them.
        rules: how often each is tried, and what becomes of one that fails.

    Raises: WorkerError: workers die whatever they are given. What was yielded before stays valid.
    """
    fresh = iter(works)
    again: deque[_Attempt[W]] = deque()
    running: dict[int, _Attempt[W]] = {}
    idle = list(reversed(range(pool.size)))
    deaths = 0
    while True:
        while idle and not rules.stopping():
            # What failed goes first: a machine that is lost for good is noticed before all else is done.
            attempt = again.popleft() if again else next((_Attempt(work, rules.tries) for work in fresh), None)
            if attempt is None:
                break
            worker = idle.pop()
            running[worker] = attempt
            pool.give(worker, attempt.work)
        if not running:
            return
        for report in pool.reports():
            attempt = running.pop(report.worker)
            idle.append(report.worker)
            if report.problem is None:
                deaths = 0
                yield Done(attempt.work, report.answer)  # type: ignore[arg-type]  # no problem: there is an answer
                continue
            deaths += report.died
            if deaths > DEATHS_A_WORKER * pool.size:
                raise WorkerError(
                    f"{deaths} workers died one after the other and finished nothing; the last: {report.problem}. "
                    "Give them more memory (fewer execution.workers, or a lower execution.max_lanes) and run the same "
                    "command again: everything finished is stored."
                )
            parts = _after(attempt, report.problem, rules)
            if parts:
                again.extend(parts)
            else:
                yield Lost(attempt.work, report.problem)


def _after(attempt: _Attempt[W], problem: str, rules: Rules[W]) -> list[_Attempt[W]]:
    """What is to be tried next, after an attempt that failed; nothing where the culprit is alone."""
    if attempt.tries > 1:
        rules.say(f"trying again: {problem}")
        return [_Attempt(attempt.work, attempt.tries - 1)]
    parts = rules.split(attempt.work)
    if len(parts) < 2:
        return []
    rules.say(f"failed {rules.tries} times, going on with its {len(parts)} parts one by one: {problem}")
    return [_Attempt(part, rules.tries) for part in parts]


def attempted(act: Callable[[W], R], worker: int, work: W) -> Report[R]:
    """A worker's report on a piece of work, whatever happens to it."""
    try:
        return Report(worker, act(work))
    except Exception as error:
        return Report(worker, problem=reason(error))


def reason(error: BaseException) -> str:
    """An exception on one line; ours speak for themselves."""
    text = " ".join(str(error).split())[:400]
    return text if isinstance(error, CdevalError) else f"{type(error).__name__}: {text}"
