"""Locks between processes, held by an open file: the system drops them when its process ends, however it ends."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

# Some network file systems have no locks; two runs at once are then the user's to avoid.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def try_lock(file: int) -> bool:
    """Lock an open file unless another process has, without waiting; whether it is ours now.

    Raises: OSError: the system refuses for another reason.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def unlock(file: int) -> None:
    """Explicitly, not by closing alone: a forked worker that is still alive shares the lock and would keep it."""
    if sys.platform != "win32":
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def short_lock(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Wait for the lock on a file that exists for nothing else, and hold it.

    Args: path: the file. waiting: called once before this process has to wait, for locks that are held for long.
    Raises: OSError: the file cannot be made.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        if waiting is not None and not try_lock(file):
            waiting()
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
        yield
    finally:
        unlock(file)
        os.close(file)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock on this file now. What cannot be opened or asked is taken as free."""
    if sys.platform == "win32":
        return False
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    else:
        return False
    finally:
        os.close(file)
