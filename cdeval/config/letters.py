"""Letters typed are the letters meant: what Hydra's grammar would read as numbers or signs is quoted where it is text.

Hydra reads `study=1.10` as the number 1.1, `study=2024_06_01` as 20240601, and stops at `é` or `(1)`. The schema says
which settings are text, so their values are quoted before Hydra sees them. What the grammar is wanted for stays: commas
of a sweep, lists, `choice(...)`, interpolations, quotes that were typed, and `null`, which is no text.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from cdeval.config.fields import Leaf, TextForm, owner_of

_OVERRIDE = re.compile(r"(?P<key>(?:\+{1,2})?(?P<name>[\w.]+))=(?P<value>.*)", re.DOTALL)
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_SWEEP = re.compile(r"(choice|shuffle|sort|tag|glob|range|interval)\((.*)\)", re.DOTALL)
_ESCAPE = re.compile(r"\\[\\()\[\]{}:=, \t]")  # Hydra's own way of saying that a sign is a letter
_PAIRS = {"(": ")", "[": "]", "{": "}"}


def as_meant(argument: str, settings: Mapping[str, Leaf]) -> str:
    r"""A command-line argument with its text quoted for Hydra; all other arguments as they are.

    >>> from cdeval.config.fields import Rules
    >>> study = {"study": Leaf("study", str, False, "", Rules(), ())}
    >>> as_meant("study=1.10", study), as_meant("study=a,1e3", study), as_meant("seed=3", study)
    ("study='1.10'", "study='a','1e3'", 'seed=3')
    """
    found = _OVERRIDE.fullmatch(argument)
    leaf = settings.get(found["name"]) if found else None
    if found is not None and owner_of(found["name"], settings):
        return f"++{found['name']}={found['value']}"  # Hydra takes a key that is not there yet by this sign alone
    if found is None or leaf is None or leaf.text is None:
        return argument
    return f"{found['key']}={_value(found['value'], leaf.text)}"


def _value(value: str, kind: TextForm) -> str:
    if kind is TextForm.prose:
        return _element(value)
    if _ESCAPE.search(value):
        return value
    sweep = _SWEEP.fullmatch(value)
    if sweep is not None:
        if sweep[1] in ("range", "interval", "glob"):
            return value
        return f"{sweep[1]}({','.join(_one(part, kind) for part in _split(sweep[2]))})"
    parts = list(_split(value))
    if len(parts) == 1 or Path(value).expanduser().exists():  # a file's name may hold a comma
        return _one(value, kind)
    return ",".join(_one(part.strip(), kind) for part in parts)


def _one(value: str, kind: TextForm) -> str:
    """A value without the commas of a sweep: a list, where the setting may be one, or a text."""
    inside = value.strip()
    if kind is TextForm.lines and inside.startswith("[") and inside.endswith("]"):
        return f"[{','.join(_element(part.strip()) for part in _split(inside[1:-1]))}]"
    return _element(value)


def _element(value: str) -> str:
    if value in ("", "null") or _QUOTED.fullmatch(value):
        return value
    escaped = re.sub(r"(\\*)'", lambda found: 2 * found[1] + "\\'", value)  # before a quote backslashes are escapes
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{trailing * chr(92)}'"


def _split(value: str) -> Iterator[str]:
    """The parts between commas that stand in no brackets and no quotes; brackets that are never closed are letters."""
    start = at = 0
    while at < len(value):
        fresh = not value[start:at].strip()  # quotes and their like count where an element begins
        quoted = _QUOTED.match(value, at) if fresh else None
        if quoted and re.match(r"\s*(,|$)", value[quoted.end() :]):
            at = quoted.end()
        elif value[at] in _PAIRS:
            at = _closed(value, at)
        elif value[at] == ",":
            yield value[start:at]
            start = at = at + 1
        else:
            at += 1
    yield value[start:]


def _closed(value: str, at: int) -> int:
    """The place after the bracket that closes the one here, or the next place."""
    depth, opening = 0, value[at]
    for place in range(at, len(value)):
        depth += (value[place] == opening) - (value[place] == _PAIRS[opening])
        if depth == 0:
            return place + 1
    return at + 1
