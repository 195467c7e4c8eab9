"""A lock is its holder's until that process ends, whoever else opens the file; file systems without locks have none."""

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from cdeval.store.locks import is_locked, short_lock, try_lock, unlock


@pytest.fixture
def files(tmp_path: Path) -> list[int]:
    """The same file, opened as by two processes."""
    return [os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2)]


def test_one_holds_it_and_whoever_looks_sees_it(files: list[int], tmp_path: Path) -> None:
    mine, other = files
    assert try_lock(mine)
    assert not try_lock(other)
    assert is_locked(tmp_path / "lock")
    unlock(mine)
    assert not is_locked(tmp_path / "lock")
    assert try_lock(other), "looking has left no lock behind"


def test_a_process_that_ends_leaves_no_lock(files: list[int], tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        try_lock(os.open(tmp_path / "lock", os.O_RDWR))
        os._exit(0)
    os.waitpid(child, 0)
    assert try_lock(files[0])


def test_waiting_is_said_once_and_only_where_it_is_needed(tmp_path: Path) -> None:
    said: list[str] = []
    with short_lock(tmp_path / "lock", lambda: said.append("waiting")):
        assert said == []
        waits = threading.Event()
        waiter = threading.Thread(target=lambda: wait_for_lock(tmp_path / "lock", waits, said))
        waiter.start()
        assert waits.wait(10)
        assert said == []
    waiter.join(10)
    assert said == ["has it"]


def wait_for_lock(path: Path, waits: threading.Event, said: list[str]) -> None:
    with short_lock(path, waits.set):
        said.append("has it")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic links"), short_lock(tmp_path / "lock"):
        pass
    assert not (tmp_path / "victim").exists()


def test_what_cannot_be_opened_is_free(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "missing")


def test_without_locks_everything_is_ours_and_other_errors_are_told(
    files: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_file: int, _flags: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("portalocker.portalocker.LOCKER", refuse)
    number = errno.ENOLCK
    assert all(map(try_lock, files))
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        try_lock(files[0])


def test_other_programs_see_the_lock(files: list[int]) -> None:
    """Earlier versions of cdeval lock by flock; a study that one of them writes must stay its own."""
    fcntl.flock(files[0], fcntl.LOCK_EX)
    assert not try_lock(files[1])
