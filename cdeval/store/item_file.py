"""A file of JSON values to these values, read strictly: every mistake is named with its file and line.

The values may be the items of one list, stand a line each (JSONL), or follow one another over several lines each, as jq
writes them, in any mixture. A byte order mark, UTF-16, and CRLF line ends are taken as they come, and so are files
packed by gzip, bzip2 or xz. The rows of a Parquet or an Arrow file are values like any others. Another kind of file is
named for what it is. Every file is read once, so that a pipe will do.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from cdeval.errors import CdevalError
from cdeval.store.tables import is_table, rows_of

_LARGEST = 1 << 31  # bytes of a file, packed or not: more of JSON would not fit in memory as values
_BLOCK = 1 << 20

# How packed files begin, and who unpacks them.
_PACKED: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"\x5d\x00\x00": lzma.open,  # without a container
}
# How files begin that are no text, and what they are.
_KINDS = {
    b"PK\x03\x04": "a zip archive (inspect_ai's .eval logs are such): unpack it, and give the JSON file in it",
    b"PK\x05\x06": "an empty zip archive",
    b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it by zstd -d",
    b"\x04\x22\x4d\x18": "packed by lz4: unpack it by lz4 -d",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it, and give the JSON file in it",
    b"Rar!": "a RAR archive: unpack it, and give the JSON file in it",
    **dict.fromkeys(_PACKED, "packed twice: unpack it once"),  # after the one unpacking
    b"PAR1": "a Parquet file: write it as JSONL first, for example by pandas: to_json(orient='records', lines=True)",
    b"ARROW1": "an Arrow file: write it as JSONL first, for example by datasets: to_json",
    b"FEA1": "a Feather file: write it as JSONL first, for example by pandas: to_json(orient='records', lines=True)",
    b"Obj\x01": "an Avro file: write it as JSONL first",
    b"\xff\xff\xff\xff": "an Arrow stream: write it as JSONL first, for example by datasets: to_json",
    b"SQLite format 3\x00": "an SQLite database: write the texts as JSONL first",
    b"\x89HDF\r\n": "an HDF5 file: write the texts as JSONL first",
    b"\x93NUMPY": "a numpy array: write the texts as JSONL first",
    b"%PDF": "a PDF document",
    b"version https://git-lfs": "a Git LFS pointer in place of a file: fetch the file itself by git lfs pull",
    b"\x80\x02": "a pickle, which is never opened because it may run code: write the texts as JSONL",
    b"\x80\x03": "a pickle, which is never opened because it may run code: write the texts as JSONL",
    b"\x80\x04": "a pickle, which is never opened because it may run code: write the texts as JSONL",
    b"\x80\x05": "a pickle, which is never opened because it may run code: write the texts as JSONL",
}
_TAR = ((b"ustar\x00", b"ustar  \x00"), 257)  # how and where a tar archive says what it is; no text has the zero byte


class Located(NamedTuple):
    """A value and where it stands."""

    where: str  # "line 3" or "item 3"
    number: int  # 3
    value: object


@dataclass(frozen=True, slots=True)
class ItemFile:
    """A file that a setting names, and what it should have been, for the messages."""

    path: Path
    setting: str  # prompts.path
    shape: str  # "expected …", without the full stop
    error: type[CdevalError]

    def located(self) -> Iterator[Located]:
        """The values, in the order of the file. Raises: `error`: on reaching what is not JSON."""
        content = self.content()
        yield from self._rows(content) if is_table(content) else self._parse(self.text(content))

    def whole(self, content: bytes | None = None) -> tuple[list[Located], bool]:
        """The values, and whether the last line was torn: cut off in writing, without its newline, and left out.

        Args: content: of the file, where it has been read (`content`).
        Raises: `error`: not a readable file of text, or not JSON elsewhere than in a torn last line.
        """
        found = self.content() if content is None else content
        if is_table(found):
            return self._rows(found), False
        text = self.text(found)
        try:
            return list(self._parse(text)), False
        except self.error:
            before, _, last = text.rpartition("\n")
            if not last or not _is_json(before.strip().partition("\n")[0]):  # the mistake is no torn last line
                raise
        return list(self._parse(before)), True

    def content(self) -> bytes:
        """The file's bytes, unpacked. Raises: `error`: it is missing, no file, unreadable, too large, or damaged."""
        given = f"{self.setting}={self.path}"
        try:
            mode = self.path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise self.error(f"{given} is a folder: give a file in it; {self.shape}.")
            if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not _is_terminal(self.path)):
                raise self.error(f"{given} is a device and holds no texts: give a file; {self.shape}.")
            with self.path.open("rb") as file:
                found = self._read(file)
            opener = next((unpack for magic, unpack in _PACKED.items() if found.startswith(magic)), None)
            if opener is not None:
                with opener(io.BytesIO(found)) as unpacked:
                    found = self._read(unpacked)
        except FileNotFoundError as error:
            raise self.error(f"{given} does not exist: {self.shape}.") from error
        except (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
            raise self.error(f"{given} is packed and damaged ({error}): make or copy it again.") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise self.error(f"{given} cannot be read: {reason}.") from error
        return found

    def text(self, content: bytes | None = None) -> str:
        """The decoded file. Raises: `error`: as `content`, or it is empty or no text."""
        found = self.content() if content is None else content
        kind = next((what for magic, what in _KINDS.items() if found.startswith(magic)), None)
        if found.startswith(*_TAR):
            kind = "a tar archive: unpack it, and give the JSON file in it"
        if kind is not None:
            raise self.error(f"{self.path} is {kind}; {self.shape}.")
        encoding = json.detect_encoding(found)  # JSON begins with a sign of ASCII, which shows it without a mark, too
        try:
            text = found.decode(encoding)
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise self.error(
                f"{self.path} is not {encoding.removesuffix('-sig').upper()}: byte "
                f"0x{error.object[error.start]:02x} at offset {error.start} (line {line}). Save it as UTF-8, for "
                "example with: iconv -f <its encoding> -t utf-8"
            ) from error
        if not text.strip():
            raise self.error(f"{self.path} is empty: {self.shape}.")
        return text

    def _rows(self, content: bytes) -> list[Located]:
        try:
            rows = rows_of(content, _LARGEST)
        except ValueError as error:
            raise self.error(f"{self.path} {error}; {self.shape}.") from error
        return [Located(f"row {number}", number, row) for number, row in enumerate(rows, 1)]

    def _read(self, file: BinaryIO) -> bytes:
        """Read a file up to a bound. Raises: `error`: it is larger."""
        blocks, size = [], 0
        while block := file.read(_BLOCK):
            blocks.append(block)
            size += len(block)
            if size > _LARGEST:
                raise self.error(
                    f"{self.setting}={self.path} holds more than {_LARGEST >> 30} GiB: give it in several files."
                )
        return b"".join(blocks)

    def _parse(self, text: str) -> Iterator[Located]:
        if not _is_lines(text):
            values = list(self._following(text))
            if len(values) == 1 and isinstance(values[0].value, list):
                values = [Located(f"item {n}", n, value) for n, value in enumerate(values[0].value, 1)]
            yield from values
            return
        # Not splitlines(): JSON strings may hold U+2028 and its like as they are.
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    value = self._json(line.strip(), first_line=number)
                except self.error:
                    # Some value takes several lines, or shares one; where nothing can be read so, the line is at fault.
                    rest = self._after_lines(text, number)
                    if rest is None:
                        raise
                    yield from rest
                    return
                yield Located(f"line {number}", number, value)

    def _after_lines(self, text: str, line: int) -> list[Located] | None:
        """Read all values from a line on, however they are written; None where that is not JSON."""
        before = "\n" * (line - 1)
        try:
            return list(self._following(before + "\n".join(text.split("\n")[line - 1 :])))
        except self.error:
            return None

    def _following(self, text: str) -> Iterator[Located]:
        """Values one after the other, whatever lines they take; each is called after the line that it begins in.

        Where two begin in one line, all are numbered in their order: a number is of one value alone.
        """
        values = list(self._placed(text))
        if len({line for line, _ in values}) == len(values):
            yield from (Located(f"line {line}", line, value) for line, value in values)
        else:
            yield from (Located(f"line {line}, value {n}", n, value) for n, (line, value) in enumerate(values, 1))

    def _placed(self, text: str) -> Iterator[tuple[int, object]]:
        decoder, place, line, seen = json.JSONDecoder(), 0, 1, 0
        while True:
            while place < len(text) and text[place].isspace():
                place += 1
            if place == len(text):
                return
            line, seen = line + text.count("\n", seen, place), place
            try:
                value, place = decoder.raw_decode(text, place)
            except json.JSONDecodeError as error:
                raise self._no_json(error, error.lineno) from error
            except (ValueError, RecursionError) as error:
                raise self._unusable(error, line) from error
            yield line, value

    def _json(self, text: str, first_line: int) -> object:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise self._no_json(error, first_line + error.lineno - 1) from error
        except (ValueError, RecursionError) as error:  # a number of 5000 digits, brackets a thousand deep
            raise self._unusable(error, first_line) from error

    def _no_json(self, error: json.JSONDecodeError, line: int) -> CdevalError:
        return self.error(f"{self.path}, line {line}: not JSON ({error.msg} at column {error.colno}); {self.shape}.")

    def _unusable(self, error: Exception, line: int) -> CdevalError:
        return self.error(f"{self.path}, line {line}: unusable JSON ({error}); {self.shape}.")


def kind_of(value: object) -> str:
    """A JSON value's type in a message, with the value where it is short.

    >>> kind_of(3), kind_of([])
    ('a number (3)', 'a list')
    """
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    name = names.get(type(value), "null")
    return f"{name} ({value!r})"[:80] if isinstance(value, int | float | str) else name


def _is_lines(text: str) -> bool:
    """Whether values stand a line each: the first line is one, and it is not all of one list."""
    first, _, rest = text.strip().partition("\n")
    return _is_json(first) and not (first.lstrip().startswith("[") and not rest.strip())


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_terminal(path: Path) -> bool:
    with path.open("rb") as file:
        return os.isatty(file.fileno())
