"""Watch which workers still answer: say which do not, and tell when one is to be replaced.

A worker is asked beside its work, so one that computes for hours answers, and one that hangs does not: a process that
was stopped, a machine that is out of reach, a lock that is never released. Who asks and replaces them is
`cdeval.study.ray_pool`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from cdeval.config.schema import ExecutionConfig

LONG = 10  # times execution.silence_s that one piece of work may last before a line says so, then twice as many, …


@dataclass(slots=True)
class _State:
    """The state of a worker that has work."""

    holds: str
    began: float
    asked: float | None  # when the question was put that it has not answered
    long: float  # seconds of work after which the next line is due
    told: bool = False  # that it does not answer


class Heartbeats:
    """Knows the workers that have work, by number."""

    def __init__(
        self, execution: ExecutionConfig, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Watch nobody yet; `execution` says how long a worker may be silent, and `say` takes one line."""
        self.silence_s, self._replaced_s = execution.silence_s, execution.replaced_s
        self._say, self._clock = say, clock
        self._states: dict[int, _State] = {}
        self._names: dict[int, str] = {}

    def began(self, worker: int, holds: str) -> None:
        """Note that the worker was given work, which `holds` describes."""
        now = self._clock()
        self._states[worker] = _State(holds, now, None, LONG * self.silence_s)

    def ended(self, worker: int) -> None:
        """Note that the worker has no work any more."""
        self._states.pop(worker, None)

    def asked(self, worker: int) -> None:
        """Note that the worker was asked whether it is there; silence counts from here."""
        self._states[worker].asked = self._clock()

    def answered(self, worker: int, name: str = "") -> None:
        """Note that the worker answered; `name` says which process it is, for those who look for it."""
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
        """Find the workers that have not answered for too long, and why; a line says which others are silent."""
        found = {}
        for worker, state in self._states.items():
            silent, most = 0.0 if state.asked is None else self._clock() - state.asked, self._replaced_s
            if most is not None and silent >= most:
                found[worker] = f"Ray worker {self._named(worker)} did not answer for {silent:.0f} s and was replaced"
            elif silent >= self.silence_s and not state.told:
                state.told = True
                holds = f"has not answered for {silent:.0f} s and holds {state.holds}"
                self._say(f"Ray worker {self._named(worker)} {holds}: {self._then}")
        return found

    @property
    def _then(self) -> str:
        most = self._replaced_s
        if most is None:
            return "it is waited for (execution.replaced_s=null)"
        return f"after {most:g} s (execution.replaced_s) it is replaced, and its work is done again"

    def replaced(self, worker: int) -> None:
        """Note that another process has taken the worker's place and number."""
        self.ended(worker)
        self._names.pop(worker, None)

    def _named(self, worker: int) -> str:
        return f"{worker + 1}{self._names.get(worker, '')}"
