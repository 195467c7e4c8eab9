"""A JSON list or JSONL file to its values, read strictly: every mistake is named with its file and line.

A byte order mark and CRLF line ends are taken as they come. Lines may hold any JSON, lists too.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cdeval.errors import CdevalError


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
        yield from self._parse(self.text())

    def whole(self) -> tuple[list[Located], bool]:
        """The values, and whether the last line was torn: cut off in writing, without its newline, and left out.

        Raises: `error`: not a readable UTF-8 file, or not JSON elsewhere than in a torn last line.
        """
        text = self.text()
        if not text.endswith("\n") and (not text.lstrip().startswith("[") or _lists_by_line(text)):
            before, newline, last = text.rpartition("\n")
            try:
                json.loads(last)
            except ValueError:
                if newline and before.strip():
                    return list(self._parse(before)), True
        return list(self._parse(text)), False

    def text(self) -> str:
        """The decoded file. Raises: `error`: it is missing, a folder, unreadable, empty, or not UTF-8."""
        given = f"{self.setting}={self.path}"
        if not self.path.exists():
            raise self.error(f"{given} does not exist: {self.shape}.")
        if self.path.is_dir():
            raise self.error(f"{given} is a folder: give a file in it; {self.shape}.")
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise self.error(f"{given} cannot be read: {error.strerror}.") from error
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise self.error(
                f"{self.path} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {error.start} "
                f"(line {line}). Save it as UTF-8, for example with: iconv -f <its encoding> -t utf-8"
            ) from error
        if not text.strip():
            raise self.error(f"{self.path} is empty: {self.shape}.")
        return text

    def _parse(self, text: str) -> Iterator[Located]:
        if text.lstrip().startswith("[") and not _lists_by_line(text):
            values = self._json(text, first_line=1)
            for number, value in enumerate(values if isinstance(values, list) else [values], 1):
                yield Located(f"item {number}", number, value)
            return
        # Not splitlines(): JSON strings may hold U+2028 and its like as they are.
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield Located(f"line {number}", number, self._json(line, first_line=number))

    def _json(self, text: str, first_line: int) -> object:
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            line = first_line + error.lineno - 1
            raise self.error(
                f"{self.path}, line {line}: not JSON ({error.msg} at column {error.colno}); {self.shape}."
            ) from error
        except (ValueError, RecursionError) as error:  # a number of 5000 digits, brackets a thousand deep
            raise self.error(f"{self.path}, line {first_line}: unusable JSON ({error}); {self.shape}.") from error


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


def _lists_by_line(text: str) -> bool:
    """Whether the first of several lines is a list of its own: a JSONL file of lists, not one list."""
    first, _, rest = text.strip().partition("\n")
    try:
        return bool(rest) and isinstance(json.loads(first), list)
    except (ValueError, RecursionError):
        return False
