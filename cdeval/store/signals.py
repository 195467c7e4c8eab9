"""Ctrl-C and SIGTERM: once, and the running batch is finished and stored; twice, and it stops now.

Slurm and others send SIGTERM some seconds before SIGKILL (`KillWait`, 30 s by default): where a batch takes longer, its
texts are decoded again by the next run, and none that is stored is lost.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cdeval import leave_at_once

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """The user, or the machine's scheduler, wants an end."""

    def __init__(self, number: int, saved: str = "") -> None:
        super().__init__(saved)
        self.number = number  # of the signal
        self.saved = saved  # what is on disk, for the last line


class Stop:
    """Whether an end is wanted, and by which signal."""

    number: int | None = None


@contextmanager
def finishing() -> Iterator[Stop]:
    """Keep the first signal until the end, for whoever looks at it between batches; the second one raises at once.

    Raises: Stopped: at the second signal, or at the end after the first.
    """
    stop = Stop()

    def heard(number: int, _frame: FrameType | None) -> None:
        if stop.number is not None:
            raise Stopped(number)
        stop.number = number
        sys.stderr.write("stopping after the running batch; once more stops now\n")

    with _handled(heard):
        yield stop
    if stop.number is not None:
        raise Stopped(stop.number)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does, with its message. Raises: Stopped: at the signal."""

    def heard(number: int, _frame: FrameType | None) -> None:
        raise Stopped(number)

    # What heard the signals while modules were imported says that nothing was begun, which ends here.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is leave_at_once:
            signal.signal(number, usual)
    with _handled(heard, signal.SIGTERM):
        yield


@contextmanager
def _handled(heard: object, *numbers: signal.Signals) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python hears signals in the main thread alone
        yield
        return
    before = {number: signal.signal(number, heard) for number in numbers or _SIGNALS}  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
