"""Progress of long work in lines of text: how far it is, and how long the rest will take.

Whatever may take more than two seconds counts through `Steps`. Short work says nothing. Long work says a line at each
tenth of it, and one after every half minute without a line, whether or not a step has ended meanwhile: a log that
stands still looks like a command that hangs. In a log, which people read afterwards, lines stand further apart the
longer the command has taken, so that hours of work end in fewer lines than a screen or two.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import ClassVar

from cdeval.store.screen import complain

PARTS = 10  # lines of a piece of work, but for those after a silence
SHORT = 2.0  # seconds; work that is over before says nothing
SILENCE = 30.0  # seconds without a line, after which there is one whatever the progress
# In a log, a line of progress and one after a silence also wait for these parts of the command's time until then.
_PART, _PART_SILENT = 1 / 4, 1 / 2
_SOON = 0.6  # seconds after which a command says that it has begun; a mistyped setting is answered sooner
_ASKING = frozenset({"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--version"})


def say_nothing(_line: str) -> None:
    """Take a line of progress that nobody wants to see."""


class Steps:
    """Counts the steps of one piece of work; as a context, it also speaks up while a single step takes long."""

    _open: ClassVar[list["Steps"]] = []  # the last one is being done, and those before it wait for it
    _began: ClassVar[float | None] = None  # when the command did that is running, if one is
    _last: ClassVar[float] = 0.0  # when one of its pieces of work said a line

    def __init__(
        self,
        say: Callable[[str], None],
        what: str,
        total: int | None = None,
        *,
        apart: float = SHORT,
        timed: bool = True,
    ) -> None:
        """Begin to count.

        Args:
            say: takes one line.
            what: is counted, as `position` of "position 410 of 4096".
            total: of them; None: that is not known.
            apart: fewest seconds between two lines.
            timed: whether the steps take about equally long, so that the time left can be told.
        """
        self._say, self._what, self._total, self._apart, self._timed = say, what, total, apart, timed
        self._done = 0
        self._tenth = 0  # the last one that was said
        self._started = self._said = time.perf_counter()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Steps":
        Steps._open.append(self)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        Steps._open.remove(self)
        self._over.set()
        self._watcher.join()

    def advance(self, count: int = 1, found: str = "") -> None:
        """Count so many more as done. `found` is added to the line, if there is one."""
        self._done += count
        if not self._total:
            return
        now, tenth = time.perf_counter(), self._done * PARTS // self._total
        if tenth != self._tenth and self._is_due(now, self._apart, _PART):
            self._tenth = tenth
            self._tell(now, found)

    def speak_up(self) -> None:
        """Say a line if there has been none for long; whoever watches the work asks for it."""
        now = time.perf_counter()
        apart, part = (SHORT, _PART) if self._said == self._started else (SILENCE, _PART_SILENT)
        if Steps._open and Steps._open[-1] is self and self._is_due(now, apart, part):
            self._tell(now)

    def _is_due(self, now: float, apart: float, part: float) -> bool:
        """Whether the last line is so many seconds ago, and in a command's log such a part of its time until now."""
        if Steps._began is None or sys.stderr.isatty():
            return now - self._said >= apart
        return now - max(self._said, Steps._last) >= max(apart, part * (now - Steps._began))

    def _tell(self, now: float, found: str = "") -> None:
        self._said = Steps._last = now
        taken = now - self._started
        far = self._what if self._total is None else f"{self._what} {self._done} of {self._total}"
        if self._total is not None and self._done > 0 and self._timed:
            time_told = f"{duration(taken / self._done * max(0, self._total - self._done))} left"
        else:
            time_told = f"{duration(taken)} so far"
        self._say(f"{far}{f': {found}' if found else ''}; {time_told}")

    def _watch(self) -> None:
        """Say a line whenever there has been none for long; runs beside the work."""
        wait = SHORT
        while not self._over.wait(wait):
            self.speak_up()
            wait = SILENCE - min(time.perf_counter() - self._said, SILENCE / 2)


def duration(seconds: float) -> str:
    """A time in whole units that people use.

    >>> [duration(seconds) for seconds in (0.4, 108, 200, 7300)]
    ['0 s', '108 s', '3 min', '2 h 2 min']
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def announced(command: str, arguments: Sequence[str]) -> Iterator[None]:
    """Say within a second that a command has begun: what it needs may take seconds to import before it says a word.

    A command that is over at once, as after a mistake, says nothing of it; nor does one that is asked what it takes, or
    that is to be quiet.
    """
    if _ASKING & set(arguments) or "tracking.quiet=true" in {one.lstrip("-") for one in arguments}:
        yield
        return
    line = f"cdeval.{command} has begun: it reads settings and loads libraries first, which takes some seconds"
    timer = threading.Timer(_SOON, complain, [line])
    timer.daemon = True
    timer.start()
    Steps._began = Steps._last = time.perf_counter()
    try:
        yield
    finally:
        Steps._began = None
        timer.cancel()
