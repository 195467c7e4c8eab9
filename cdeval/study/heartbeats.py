"""Watch which workers still answer: say which do not, and tell when one is to be replaced.

A worker is asked beside its work, so one that computes for hours answers, and one that hangs does not: a process that
was stopped, a machine that is out of reach, a lock that is never released. The clock knows no workers and no processes
(`cdeval.study.ray_workers`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

LONG = 10  # silences that one piece of work may last before a line says so, then twice as many, and so on


class Silence(NamedTuple):
    """How long a worker may not answer [seconds]."""

    said_s: float = 60.0  # before a line says so
    replaced_s: float | None = 600.0  # before it is replaced; None: never


@dataclass(slots=True)
class _State:
    holds: str
    began: float
    asked: float | None  # when the question was put that it has not answered
    long: float  # seconds of work after which the next line is due
    told: bool = False  # that it does not answer


class Heartbeats:
    """The workers that have work, by number."""

    def __init__(
        self, limits: Silence, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Watch nobody yet. `say` takes one line."""
        self._limits, self._say, self._clock = limits, say, clock
        self._states: dict[int, _State] = {}
        self._names: dict[int, str] = {}

    def began(self, worker: int, holds: str) -> None:
        """The worker was given work, which `holds` describes."""
        now = self._clock()
        self._states[worker] = _State(holds, now, None, LONG * self._limits.said_s)

    def ended(self, worker: int) -> None:
        """The worker has no work any more."""
        self._states.pop(worker, None)

    def asked(self, worker: int) -> None:
        """The worker was asked whether it is there. Silence counts from here, not from while the asker was away."""
        self._states[worker].asked = self._clock()

    def answered(self, worker: int, name: str = "") -> None:
        """The worker answered; `name` says which process it is, for those who look for it."""
        state, now = self._states[worker], self._clock()
        if name:
            self._names[worker] = f" ({name})"
        if state.told and state.asked is not None:
            self._say(f"Ray worker {self._named(worker)} answers again, after {now - state.asked:.0f} s")
        state.asked, state.told = None, False
        if now - state.began >= state.long:
            state.long *= 2
            worked = f"{now - state.began:.0f} s on {state.holds}"
            self._say(f"Ray worker {self._named(worker)} answers, and has worked {worked}")

    def lost(self) -> dict[int, str]:
        """The workers that have not answered for too long, with the reason; a line says which others are silent."""
        found = {}
        for worker, state in self._states.items():
            silent, most = 0.0 if state.asked is None else self._clock() - state.asked, self._limits.replaced_s
            if most is not None and silent >= most:
                found[worker] = f"Ray worker {self._named(worker)} did not answer for {silent:.0f} s and was replaced"
            elif silent >= self._limits.said_s and not state.told:
                state.told = True
                holds = f"has not answered for {silent:.0f} s and holds {state.holds}"
                self._say(f"Ray worker {self._named(worker)} {holds}: {self._then}")
        return found

    @property
    def _then(self) -> str:
        most = self._limits.replaced_s
        if most is None:
            return "it is waited for (execution.replaced_s=null)"
        return f"after {most:g} s (execution.replaced_s) it is replaced, and its work is done again"

    def replaced(self, worker: int) -> None:
        """Another process has taken the worker's place and number."""
        self.ended(worker)
        self._names.pop(worker, None)

    def _named(self, worker: int) -> str:
        return f"{worker + 1}{self._names.get(worker, '')}"
