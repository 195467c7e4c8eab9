"""Records as strict JSON and back, the text form of everything in a run folder.

JSON has no NaN and no infinity: a number that is not finite is written as null, and read back as NaN where a number is
expected, so every parser can read the files and a missing value stays missing. Other scripts are kept as they are.
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from numbers import Integral, Real
from typing import Any, TypeVar

from cdeval.records import Estimate, Generation
from cdeval.store.private import masked_all

_T = TypeVar("_T")

_PLAIN = frozenset({int, str, bool, type(None)})
# A study's texts are read back together to be scored, and their token ids are few numbers: one object each makes a text
# of 256 tokens 2 KB instead of 9.
_IDS: dict[int, int] = {}
_DIGITS = 20  # of a whole number, its sign included


def plain(value: object) -> object:
    """Convert a value to JSON's own types: dataclasses as mappings, enums as names, NaN and infinities as None.

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
    """Write one line of JSON, in the order of the fields, with every text as it is. Raises: TypeError: as `plain`."""
    return encode(json.dumps(plain(value), ensure_ascii=False, allow_nan=False) + "\n")


def to_page(value: object) -> bytes:
    """JSON for people: sorted, indented, the home folder masked. Raises: TypeError: as `plain`."""
    return to_exact_page(masked_all(plain(value)))


def to_exact_page(value: object) -> bytes:
    """Write as `to_page` does, with every text as it is: for digests, not for files. Raises: TypeError: as `plain`."""
    return encode(json.dumps(plain(value), ensure_ascii=False, allow_nan=False, sort_keys=True, indent=2) + "\n")


def encode(text: str) -> bytes:
    """UTF-8 that never fails: half of a surrogate pair has none, and becomes the escape that JSON uses for it."""
    return text.encode("utf-8", "backslashreplace")


def parse(data: bytes) -> Any:
    """A value from JSON as this module writes it, and nothing else.

    Raises: ValueError: it is not JSON in UTF-8, is nested without end, names a key twice, or has a number that is not
        finite or has more digits than any of ours.
    """
    return _decode(data, parse_int=_whole, parse_float=_finite, parse_constant=_finite)


def parse_line(data: bytes) -> Any:
    """Parse as `parse` does, for the many numbers of a text, whose size whoever reads them checks."""
    return _decode(data, parse_constant=_finite)


def _decode(data: bytes, **hooks: Any) -> Any:
    try:
        return json.loads(data.decode(), object_pairs_hook=_once, **hooks)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


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
        sample=count(record, "sample") if isinstance(record, Mapping) and "sample" in record else 0,
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
        n=count(record, "n"),
        missing=count(record, "missing"),
        note=_field(record, "note", str),
    )


def number(record: object, name: str) -> float:
    """A field that is a number; null is NaN. Raises: ValueError: it is missing or of another type."""
    value = _number_or_none(record, name)
    return math.nan if value is None else value


def count(record: object, name: str) -> int:
    """A field that counts something. Raises: ValueError: it is missing, no whole number, or negative."""
    value = _field(record, name, int)
    if isinstance(value, bool) or value < 0:
        raise ValueError(f"`{name}` is {value!r}, expected a whole number of at least 0")
    return value


def _number_or_none(record: object, name: str) -> float | None:
    value = _field(record, name, object)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"`{name}` is {_brief(value)}, expected a number or null")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"`{name}` is a number of {len(str(value))} digits") from None


def _token_ids(record: object, name: str) -> tuple[int, ...]:
    ids = _field(record, name, list)
    if not all(type(item) is int for item in ids):
        raise ValueError(f"`{name}` is {str(ids)[:80]}, expected whole numbers")
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
        raise ValueError(f"`{name}` is {_brief(value)}, expected {kind.__name__}")
    return value


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
