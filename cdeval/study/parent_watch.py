"""A process that ends with the one that started it, however that ends: nothing times on for a command that is gone.

Imports nothing that takes time: the new process runs `end_with_parent` before it loads anything else, so that it does
not outlive a parent that is killed meanwhile, either.
"""

import os
import signal
import threading
from multiprocessing.connection import Connection, wait

_parent: list[Connection] = []  # the connection by which this process tells its parent of what it has done


def end_with_parent(end: Connection, tells: Connection | None = None) -> None:
    """Call this first in the new process, with one end of a pipe whose other end the parent holds and never uses.

    The system closes the parent's end when the parent ends, whatever ends it. Ctrl-C is the parent's to hear, which
    then ends this process. `tells` is what `tell` writes to.
    """
    _parent.extend([tells] if tells else [])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait, args=(end,), daemon=True).start()


def tell() -> None:
    """Tell the parent that something is done."""
    for one in _parent:
        one.send(None)


def _wait(end: Connection) -> None:
    wait([end])
    os._exit(1)
