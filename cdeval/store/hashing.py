"""SHA-256 of files and of what is read from them, remembered in the user's cache while the files stay as they are.

A file stays as it is while its path, size, times and inode do. Hashing some hundred megabytes takes a second, looking
at a file takes microseconds, so what is opened can be checked in full every time.

    <cache>/hashes/ab/cdef…     one digest, twice, so that a damaged one is seen; may be deleted at any time
"""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import platformdirs

WHOLE = "2:"  # how the fingerprints of models begin that count everything (`cdeval.models.identity`)
SMALL = 16 << 20  # bytes of files that are hashed anew in every process: it takes milliseconds
_BLOCK = 1 << 22
_known: dict[str, str] = {}  # of this process, where the cache cannot be written


def is_whole(fingerprint: object) -> bool:
    """Whether a stored fingerprint counts all of a model; those of older releases count a sample of its weights."""
    return isinstance(fingerprint, str) and fingerprint.startswith(WHOLE)


def cache_folder() -> Path:
    """Find the folder of what can be made again: $CDEVAL_CACHE, else the user's cache folder of this system."""
    moved = os.environ.get("CDEVAL_CACHE")
    return Path(moved).expanduser() if moved else Path(platformdirs.user_cache_dir("cdeval"))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, remembered. Raises: OSError: it cannot be read."""

    def compute() -> str:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    return Remembered([path], ["content"]).digest(compute)


class Remembered:
    """A digest of files as they were when this object was made: before whoever is to be digested read them."""

    def __init__(self, files: Iterable[Path], facts: Sequence[str]) -> None:
        """Look at the files.

        Args: files: all that the digest depends on. facts: what else it depends on, and which digest of them it is.
        Raises: OSError: a file cannot be looked at.
        """
        self._files, self._facts = sorted(files), facts
        self._key = self._current_key()

    def digest(self, compute: Callable[[], str]) -> str:
        """Return what `compute` makes of these files, 64 hexadecimal digits: now, or remembered from the last time.

        Raises: OSError: a file cannot be looked at; and whatever `compute` raises.
        """
        if self._current_key() != self._key:  # written to meanwhile: what was read is neither state, perhaps
            return compute()
        found = _known.get(self._key) or _read(self._key)
        if found is None:
            found = compute()
            if self._current_key() != self._key:
                return found
            if sum(path.stat().st_size for path in self._files) > SMALL:
                _write(self._key, found)
        _known[self._key] = found
        return found

    def _current_key(self) -> str:
        stamps: list[object] = list(self._facts)
        for path in self._files:
            found = path.stat()
            stamps.append([str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino])
        return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()


def _path(key: str) -> Path:
    return cache_folder() / "hashes" / key[:2] / key[2:]


def _read(key: str) -> str | None:
    try:
        found = re.fullmatch(r"([0-9a-f]{64}) \1\n", _path(key).read_text("ascii"))
    except (OSError, ValueError):
        return None
    return found[1] if found else None


def _write(key: str, digest: str) -> None:
    path = _path(key)
    draft = path.with_name(f".{uuid.uuid4().hex}.part")
    with suppress(OSError):  # full or read-only: it is computed again in the next process
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_text(f"{digest} {digest}\n", "ascii")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
