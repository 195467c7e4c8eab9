"""Files of our own: replaced as a whole, never through a link, and what the system refuses told in one message."""

import errno
import glob
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cdeval.errors import StorageError

NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag
_ABANDONED = 3600  # seconds after which a draft is nobody's
_NAME = 200  # signs of a file's name that its draft takes over


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file in one step, making its folder: a reader sees the old file or the new one, never a half.

    The draft has a name that nobody can know before, and is never a link: a link that lies in a folder from elsewhere
    cannot lead the writing to another file.

    Raises: StorageError: the disk is full or fails; the old file stays.
    """
    draft = path.parent / f".{path.name[:_NAME]}.{secrets.token_hex(6)}.part"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError:
            with suppress(OSError):
                draft.unlink()
            raise


def _sweep(path: Path) -> None:
    """Delete drafts of this file that killed processes left; younger ones may be another process's."""
    for leftover in path.parent.glob(f".{glob.escape(path.name[:_NAME])}.*part"):
        with suppress(OSError):
            if time.time() - leftover.lstat().st_mtime > _ABANDONED:
                leftover.unlink()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into one message for the user."""
    try:
        yield
    except OSError as error:
        raise StorageError(refused_reading(path, error)) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Explain errors as `explained` does, where a file or folder is made or replaced."""
    try:
        yield
    except OSError as error:
        raise StorageError(refused_writing(path, error)) from error


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # what a disk without room answers

_BROKEN_DISK = "Check the disk that it lies on."
_LONG = "The name is too long for this disk: give a shorter one."
_READ = (
    ({errno.EACCES, errno.EPERM}, "Set its permissions so that you may read it."),
    ({errno.EISDIR}, "A folder is where a file is needed: move it away."),
    ({errno.ENOTDIR}, "A file is where a folder is needed: move it away, or name another folder."),
    ({errno.ELOOP}, "It is a symbolic link that leads nowhere: remove it."),
    ({errno.ENAMETOOLONG}, _LONG),
    ({errno.ENOENT}, "It has not been written yet: run the command that makes it first."),
)
_WRITTEN = (
    (FULL, "Make room there, or name a folder on a larger disk (runs=, out= or into=)."),
    ({errno.EISDIR, errno.ENOTEMPTY}, "A folder of that name is in the way: move it away."),
    ({errno.ENAMETOOLONG}, _LONG),
)
_OTHER = "name another folder (runs=, out= or into=)"


def refused_reading(path: Path, error: OSError) -> str:
    """The message for the user where `path` cannot be read."""
    remedy = next((text for codes, text in _READ if error.errno in codes), _BROKEN_DISK)
    return f"{path}: {error.strerror or error}. {remedy}"


def refused_writing(path: Path, error: OSError) -> str:
    """The message for the user where `path` cannot be made or written: what is in the way, and where."""
    link = next((one for one in (path, *path.parents) if _misleads(one, error)), None)
    if link is not None:
        return f"{path} cannot be written: {link} is a symbolic link, and none is followed there. Remove it."
    above = next((one for one in path.parents if os.path.exists(one)), Path("."))
    if error.errno in {errno.EEXIST, errno.ENOTDIR}:
        file = path if os.path.isdir(above) else above
        return f"{path} cannot be made: A file is where a folder is needed, {file}. Move it away, or {_OTHER}."
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT}:
        return (
            f"{path} cannot be written: nothing can be created in {above} ({error.strerror}). Make it a folder in "
            f"which you may write, or {_OTHER}."
        )
    remedy = next((text for codes, text in _WRITTEN if error.errno in codes), _BROKEN_DISK)
    return f"{path} cannot be written: {error.strerror or error}. {remedy}"


def _misleads(path: Path, error: OSError) -> bool:
    """Whether it is a link that was not followed, or one that leads nowhere."""
    return os.path.islink(path) and (error.errno == errno.ELOOP or not os.path.exists(path))


def require_writable(path: Path, *, folder: bool = False) -> None:
    """Refuse a result's place before the work is done whose result would be lost; nothing is left there.

    Args: path: of a file, or of a `folder` of files.
    Raises: StorageError: no file can be made there.
    """
    place = path if folder else path.parent
    made = [one for one in (place, *place.parents) if not os.path.lexists(one)]
    draft = place / f".{secrets.token_hex(6)}.part"
    with writing(path):
        try:
            place.mkdir(parents=True, exist_ok=True)
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666))
            if not folder and path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        finally:
            with suppress(OSError):
                draft.unlink()
            for one in made:
                with suppress(OSError):
                    one.rmdir()
