"""The progress of fitting and measuring, in lines of text: they take minutes on large models."""

import time
from collections.abc import Callable

REPORTS = 10  # lines of a piece of work, at most
APART = 2.0  # seconds between two lines, where nothing but the progress is said


class Tenths:
    """Says at each tenth of a piece of work how far it is and how long the rest will take."""

    def __init__(self, say: Callable[[str], None], what: str, total: int, apart: float = APART) -> None:
        """Begin to count.

        Args:
            say: takes one line.
            what: is counted, as `position` of "position 410 of 4096".
            total: of them.
            apart: fewest seconds between two lines; what is over before has none.
        """
        self._say, self._what, self._total, self._apart = say, what, total, apart
        self._done = 0
        self._tenth = 0  # the last one that was said
        self._started = self._said = time.perf_counter()

    def advance(self, count: int, found: str = "") -> None:
        """Count so many more as done. `found` is added to the line, if there is one."""
        self._done += count
        now, tenth = time.perf_counter(), self._done * REPORTS // self._total
        if tenth == self._tenth or now - self._said < self._apart:
            return
        self._tenth, self._said = tenth, now
        left = (now - self._started) / self._done * (self._total - self._done)
        found = f": {found}" if found else ""
        self._say(f"{self._what} {self._done} of {self._total}{found}; {left:.0f} s left")
