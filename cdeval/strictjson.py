"""Records as strict JSON and back, the text form of everything in a run folder.

JSON has no NaN and no infinity: a number that is not finite is written as null, and read back as NaN where a number is
expected, so every parser can read the files and a missing value stays missing. Other scripts are kept as they are.
"""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from numbers import Integral, Real
from typing import TypeVar

from cdeval.records import Estimate, Generation

_T = TypeVar("_T")

_PLAIN = frozenset({int, str, bool, type(None)})
# A study's texts are read back together to be scored, and their token ids are few numbers: one object each makes a text
# of 256 tokens 2 KB instead of 9.
_IDS: dict[int, int] = {}


def plain(value: object) -> object:
    """The same value in JSON's own types: dataclasses as mappings, enums as names, NaN and infinities as None.

    Raises: TypeError: the value has no JSON form.
    """
    if type(value) in _PLAIN:  # most values of a text are token ids, and the way below takes a hundred times as long
        return value
    result = value
    match value:
        case None | bool() | str():
            pass
        case Enum():
            result = value.name
        case Integral():  # by their abstract types: numpy's numbers are numbers, and numpy need not be imported
            result = int(value)
        case Real():
            result = float(value) if math.isfinite(value) else None
        case Mapping():
            result = {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            result = [plain(item) for item in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            result = {one.name: plain(getattr(value, one.name)) for one in fields(value)}
        case _:
            raise TypeError(f"{type(value).__name__} cannot be written as JSON: {value!r}")
    return result


def to_line(value: object) -> bytes:
    """One line of JSON, in the order of the fields. Raises: TypeError: as `plain`."""
    return encode(json.dumps(plain(value), ensure_ascii=False, allow_nan=False) + "\n")


def to_page(value: object) -> bytes:
    """JSON for people: sorted and indented. Raises: TypeError: as `plain`."""
    return encode(json.dumps(plain(value), ensure_ascii=False, allow_nan=False, sort_keys=True, indent=2) + "\n")


def encode(text: str) -> bytes:
    """UTF-8 that never fails: half of a surrogate pair has none, and becomes the escape that JSON uses for it."""
    return text.encode("utf-8", "backslashreplace")


def generation_from_json(record: object) -> Generation:
    """Read back a `Generation`; sample 0 where none is named, no exits where none are.

    Raises: ValueError: a field is missing or wrong.
    """
    return Generation(
        id=sys.intern(_field(record, "id", str)),  # the same in every arm of a study, and kept once
        prompt=sys.intern(_field(record, "prompt", str)),
        prompt_token_ids=_token_ids(record, "prompt_token_ids"),
        reference=_interned(_nullable(record, "reference", str)),
        continuation=_field(record, "continuation", str),
        token_ids=_token_ids(record, "token_ids"),
        logprob_expert=_number_or_none(record, "logprob_expert"),
        score=_number_or_none(record, "score"),
        sample=_field(record, "sample", int) if isinstance(record, Mapping) and "sample" in record else 0,
        exit_layers=_token_ids(record, "exit_layers")
        if isinstance(record, Mapping) and "exit_layers" in record
        else (),
    )


def estimate_from_json(record: object) -> Estimate:
    """Read back an `Estimate`; null is NaN. Raises: ValueError: a field is missing or of another type."""
    return Estimate(
        value=number(record, "value"),
        low=number(record, "low"),
        high=number(record, "high"),
        n=_field(record, "n", int),
        missing=_field(record, "missing", int),
        note=_field(record, "note", str),
    )


def number(record: object, name: str) -> float:
    """A field that is a number; null is NaN. Raises: ValueError: it is missing or of another type."""
    value = _number_or_none(record, name)
    return math.nan if value is None else value


def _number_or_none(record: object, name: str) -> float | None:
    value = _field(record, name, object)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"`{name}` is {value!r}, expected a number or null")
    return float(value)


def _token_ids(record: object, name: str) -> tuple[int, ...]:
    ids = _field(record, name, list)
    if not all(type(item) is int for item in ids):
        raise ValueError(f"`{name}` is {ids!r}, expected whole numbers")
    return tuple([_IDS.setdefault(item, item) for item in ids])


def _interned(text: str | None) -> str | None:
    return None if text is None else sys.intern(text)


def _nullable(record: object, name: str, kind: type[_T]) -> _T | None:
    return None if _field(record, name, object) is None else _field(record, name, kind)


def _field(record: object, name: str, kind: type[_T]) -> _T:
    if not isinstance(record, Mapping) or name not in record:
        raise ValueError(f"`{name}` is missing")
    value = record[name]
    if not isinstance(value, kind):
        raise ValueError(f"`{name}` is {value!r}, expected {kind.__name__}")
    return value
