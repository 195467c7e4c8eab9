"""The load of the machine by others while something was timed: a latency taken beside it is not the arm's own."""

import time
from typing import Self

import psutil


class OtherLoad:
    """The share of all processors that others took, 0 to 1: `with OtherLoad() as others:` … `others.share`.

    The whole machine's busy time less this process's own, so a container that sees only itself sees no others.
    """

    def __init__(self) -> None:
        self.share = float("nan")

    def __enter__(self) -> Self:
        self._before = _times()
        return self

    def __exit__(self, *_: object) -> None:
        wall, busy, own = (after - before for after, before in zip(_times(), self._before, strict=True))
        available = wall * (psutil.cpu_count() or 1)
        if available > 0:
            self.share = min(1.0, max(0.0, (busy - own) / available))


def _times() -> tuple[float, float, float]:
    """Seconds so far: of the wall clock, of all processors at work, of this process on them."""
    machine, mine = psutil.cpu_times(), psutil.Process().cpu_times()
    idle = machine.idle + getattr(machine, "iowait", 0.0)
    # The time of virtual guests is counted twice by the system: as theirs and as their users'.
    guests = getattr(machine, "guest", 0.0) + getattr(machine, "guest_nice", 0.0)
    return time.monotonic(), sum(machine) - idle - guests, mine.user + mine.system
