"""The run folder `runs/<study>/<point>/`: what a run has produced so far, readable by people and safe to resume.

    config.yaml         the settings, as text
    provenance.json     versions, hardware, digests (`cdeval.store.provenance`)
    generations.jsonl   one text a line, appended as soon as it is decoded
    metrics.json        scores with their intervals
    costs.json          FLOPs, seconds, bytes
    summary.json        flat: name -> number, unit in the name; written last, its presence means "done"

Texts are appended whole lines at a time and flushed to the disk, so a crash can spoil only the last line: it is cut off
before the next append. Every other file is replaced as a whole, never edited in place.
"""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias
from weakref import WeakValueDictionary

import yaml

from cdeval.errors import StorageError
from cdeval.records import Generation
from cdeval.store.files import FULL, NO_LINK, explained, refused_reading, refused_writing, replace_file, writing
from cdeval.store.locks import try_lock, unlock
from cdeval.store.private import masked, masked_all
from cdeval.store.strict_json import encode, generation_from_json, number, parse, parse_line, to_line, to_page

__all__ = ["FULL", "GENERATIONS", "SUMMARY", "BusyError", "Key", "RunFolder", "explained", "replace_file"]

GENERATIONS = "generations.jsonl"
SUMMARY = "summary.json"

# The one in C is several times as fast, and every point's settings are written.
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

Key: TypeAlias = tuple[str, int]  # of a text: its prompt's id, and which sample it is


class BusyError(StorageError):
    """Another process writes the run folder."""


class RunFolder:
    """One run's files. Reading needs no preparation; writing happens inside `with RunFolder(path) as folder:`.

    Entering creates the folder, locks it against a second writer (where the file system has locks) and mends the end
    of `generations.jsonl`.

    Raises: StorageError: on entering, when the folder cannot be made or written; BusyError: another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._stored: _Stored | None = None  # what was read last

    def __enter__(self) -> Self:
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with writing(self.path / GENERATIONS):
            # The lock lies on the file it protects: no second file to clean up, none to copy along with a run.
            file = os.open(self.path / GENERATIONS, os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_LINK, 0o666)
        try:
            with explained(self.path):
                mine = try_lock(file)
            if not mine:
                raise BusyError(
                    f"{self.path} is being written by another process. Wait until it ends or stop it, or set another "
                    "study=."
                )
            self._mend(file)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        file, self._file = self._writable(), None
        unlock(file)
        os.close(file)

    @property
    def done(self) -> bool:
        """Whether `finish` has been reached."""
        return (self.path / SUMMARY).is_file()

    def generations(self) -> dict[Key, Generation]:
        """Every stored text by its key, in the order of the file; none if nothing was stored yet.

        Raises: StorageError: a line other than a torn last one cannot be read, or two lines give one key two texts.
        """
        return dict(self._read().generations)

    def append(self, generations: Iterable[Generation]) -> None:
        """Store texts in one write and flush them to the disk.

        Raises: StorageError: the disk is full or fails. What was stored before stays, and so do those texts of this
            call that fitted as whole lines.
        """
        file = self._writable()
        lines = b"".join(to_line(generation) for generation in generations)
        end = os.fstat(file).st_size
        written = 0
        try:
            while written < len(lines):  # a disk that fills up takes a part, and refuses only the write after it
                written += os.write(file, lines[written:])
            os.fsync(file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(file, end + lines.rfind(b"\n", 0, written) + 1)
            raise StorageError(
                f"{refused_writing(self.path / GENERATIONS, error)} {len(self.generations())} texts are saved there: "
                "the same command, run again, continues after them."
            ) from error

    def write_text(self, name: str, text: str) -> None:
        """Replace a file by `text` in one step: a reader sees the old file or the new one, never a half.

        The home folder in it becomes `~`.

        Raises: StorageError: the disk is full or fails; the old file stays.
        """
        self._replace(name, encode(masked(text)))

    def write_settings(self, name: str, value: Mapping[str, object]) -> None:
        """Replace a file by `value`, which is in JSON's types, as YAML; otherwise as `write_text`."""
        self.write_text(name, yaml.dump(masked_all(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write bytes as they are; otherwise as `write_text`."""
        self._replace(name, data)

    def write_json(self, name: str, value: object) -> None:
        """Replace a file by `value`, sorted and indented; otherwise as `write_text`.

        Raises: TypeError: `value` has no JSON form (`cdeval.store.strict_json.plain`).
        """
        self._replace(name, to_page(value))

    def read_json(self, name: str) -> object:
        """Read what `write_json` stored; a number that was not finite is None.

        Raises: StorageError: the file is missing or broken.
        """
        path = self.path / name
        with explained(path):
            data = path.read_bytes()
        try:
            return parse(data)
        except ValueError as error:
            raise StorageError(f"{path} is not JSON ({error}). Delete it and run the same command again.") from error

    def read_mapping(self, name: str) -> dict[str, Any]:
        """Read a mapping by `read_json`. Raises: StorageError: it is missing, broken, or something else."""
        found = self.read_json(name)
        if not isinstance(found, dict):
            raise StorageError(
                f"{self.path / name} holds no mapping of names to values. Delete it and run the same command again."
            )
        return found

    def finish(self, summary: Mapping[str, float]) -> None:
        """Write `summary.json`, after which the run counts as done. Raises: as `write_json`."""
        self.write_json(SUMMARY, {name: float(value) for name, value in summary.items()})

    def summary(self) -> dict[str, float]:
        """Read what `finish` stored; null is NaN. Raises: StorageError: the run is not done, or the file is broken."""
        return self.numbers(SUMMARY)

    def numbers(self, name: str) -> dict[str, float]:
        """A flat file of numbers; null is NaN. Raises: StorageError: the file is missing or broken."""
        record = self.read_mapping(name)
        try:
            return {key: number(record, key) for key in record}
        except ValueError as error:
            raise StorageError(f"{self.path / name}: {error}. Delete it and run the same command again.") from error

    def _writable(self) -> int:
        if self._file is None:
            raise RuntimeError(f"{self.path} is not open for writing: use `with RunFolder(path) as folder:`")
        return self._file

    def _read(self) -> "_Stored":
        path = self.path / GENERATIONS
        try:
            with path.open("rb") as file:
                now = os.fstat(file.fileno())
                place = now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns
                stored = _READ.get(place) or _parse(file, path)
                self._stored = _READ[place] = stored
                return stored
        except FileNotFoundError:
            return _parse((), path)
        except OSError as error:
            raise StorageError(refused_reading(path, error)) from error

    def _mend(self, file: int) -> None:
        """Cut a torn last line off, or end a whole one that lacks only its newline, so that lines never merge."""
        stored = self._read()
        with writing(self.path / GENERATIONS):
            if stored.end < os.fstat(file).st_size:
                os.ftruncate(file, stored.end)
            if stored.lacks_newline:
                os.write(file, b"\n")

    def _replace(self, name: str, data: bytes) -> None:
        self._writable()
        replace_file(self.path / name, data)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Stored:
    """The content of `generations.jsonl`."""

    generations: dict[Key, Generation]
    end: int  # where the readable part of the file ends [bytes]
    lacks_newline: bool  # the last line is whole, but the next one would continue it


# What was read of a file as it is now, for as long as somebody holds a run folder that has read it: a command that has
# nothing to decode asks for the same texts five times.
_READ: WeakValueDictionary[tuple[int, int, int, int], _Stored] = WeakValueDictionary()


def _parse(lines: Iterable[bytes], path: Path) -> _Stored:
    """Read `generations.jsonl`, holding one line at a time beside the texts.

    A last line that is no JSON at all is torn and left out, nothing else is.

    Args:
        lines: of the file, split at newlines only; a text may hold other line separators.
        path: for messages.
    """
    found: dict[Key, Generation] = {}
    end = blank = 0
    newline = True
    torn: StorageError | None = None
    for count, line in enumerate(lines, start=1):
        if not line.strip():
            blank += len(line)
            continue
        if torn is not None:  # it is not the last line
            raise torn
        try:
            generation = generation_from_json(parse_line(line))
            key = generation.id, generation.sample
            if found.setdefault(key, generation) != generation:
                raise ValueError(f"an earlier line has another text for sample {key[1]} of the prompt {key[0]!r}")
        except ValueError as error:
            torn = StorageError(
                f"{path}, line {count} is not a stored text: {error}. Delete that line and run the same command "
                "again: only its text is decoded anew."
            )
            torn.__cause__ = error
            if not isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
                raise torn from error
            continue
        end, blank, newline = end + blank + len(line), 0, line.endswith(b"\n")
    return _Stored(found, end, lacks_newline=not newline)
