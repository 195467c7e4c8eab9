"""Locks between processes, held by an open file: the system drops them when its process ends, however it ends."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import portalocker
from portalocker import AlreadyLocked, LockException, LockFlags

# Some network file systems have no locks; two runs at once are then the user's to avoid.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def try_lock(file: int) -> bool:
    """Lock an open file unless another process has, without waiting; whether it is ours now.

    Raises: OSError: the system refuses for another reason.
    """
    return _lock(file, LockFlags.EXCLUSIVE | LockFlags.NON_BLOCKING)


def _lock(file: int, flags: LockFlags) -> bool:
    if sys.platform == "win32":  # a lock there also keeps everybody from reading the file
        return True
    try:
        portalocker.lock(file, flags)
    except AlreadyLocked:
        return False
    except LockException as error:
        if not isinstance(error.__cause__, OSError):
            raise
        if error.__cause__.errno not in _NO_LOCKS:
            raise error.__cause__ from None
    return True


def unlock(file: int) -> None:
    """Drop the lock explicitly: a forked worker that is alive shares it, and closing alone would leave it there."""
    if sys.platform != "win32":
        with suppress(LockException):
            portalocker.unlock(file)


@contextmanager
def short_lock(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Wait for the lock on a file that exists for nothing else, and hold it.

    Args: path: the file. waiting: called once before this process has to wait, for locks that are held for long.
    Raises: OSError: the file cannot be made.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        if not try_lock(file):
            waiting()
            _lock(file, LockFlags.EXCLUSIVE)
        yield
    finally:
        unlock(file)
        os.close(file)


def is_locked(path: Path) -> bool:
    """Tell whether a process holds the lock on this file now; a file that cannot be opened or asked counts as free."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _lock(file, LockFlags.SHARED | LockFlags.NON_BLOCKING)
    except OSError:
        return False
    finally:
        os.close(file)
