"""Groups timed one after the other, within the time that there is."""

import time
from collections.abc import Callable, Mapping, Sequence

import psutil

from cdeval.bench.plan import COMPILING, BenchGroup, GroupResult, estimate, measure
from cdeval.errors import one_line


class Timer:
    """Times groups; what is left out, and why, is said in `skipped`."""

    def __init__(
        self, clock: Callable[[], float], say: Callable[[str], None], skipped: list[str], minutes: float | None
    ) -> None:
        """Take the device's clock, who hears of progress, the list to add to, and the limit that `bench.minutes` is."""
        self._clock, self._say, self._skipped, self._minutes = clock, say, skipped, minutes

    def estimates(self, groups: Sequence[BenchGroup]) -> dict[str, float]:
        """Estimate the seconds that each group takes, by short passes; a group that compiles is given a fixed time."""
        return {group.name: COMPILING if group.compiles else estimate(group, self._clock) for group in groups}

    def time(self, group: BenchGroup, seconds: Mapping[str, float]) -> GroupResult | None:
        """Time a group; None: it would end too late, or what it compiles cannot be compiled here."""
        expected = seconds[group.name]
        if self._minutes is not None and _since_the_command_began() + expected > 60 * self._minutes:
            self._leave_out(
                group,
                f"it takes about {expected:.0f} s, and bench.minutes={self._minutes:g} are nearly over: give more",
            )
            return None
        try:
            return measure(group, self._clock, self._say)
        except Exception as error:  # of torch's compiler and what it calls, or ours that says so
            if not group.compiles:
                raise
            self._leave_out(group, f"{type(error).__name__}: {one_line(error)}")
            return None

    def _leave_out(self, group: BenchGroup, why: str) -> None:
        self._skipped.append(f"{group.name} is left out: {why}")
        self._say(self._skipped[-1])


def _since_the_command_began() -> float:
    """Count the seconds since this process was started, its imports included."""
    began: float = psutil.Process().create_time()
    return time.time() - began
