"""Keep the user's name and home folder out of files: the home folder is written as `~`, and `~` is read back as it.

Run folders get published, and names of models and prompts are often paths below the home folder, which hold the name
of a person. `masked` is applied wherever cdeval writes: JSON, YAML, tables, pages and W&B. It never touches
`generations.jsonl`, digests, or what files are opened by. `expanded` is its way back, applied to what users type and to
paths that were stored.
"""

import html
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

try:
    import pwd
except ImportError:  # Windows has no such list of users
    pwd = None  # type: ignore[assignment]

HOME = "~"
USER = "$USER"  # stands for a user's name as the name of a folder: /scratch/$USER is what a shell would read, too

# Below such folders a user's name is the name of a folder, wherever they are mounted.
_ABOVE_USERS = r"(?:home\d*|homes|[Uu]sers?|media|scratch|\.\.)"
# What may stand before a path: no letter that would make it the end of a longer one.
_START = r"(?:(?<![\w.~/-])(?!(?<=:)//)|(?<=://)|(?<=file://localhost))"
# What may stand behind it: `/home/jane` is no beginning of /home/jane2, /home/jane.doe and /home/jane@example.
_END = r"(?!\.*(?:[\w@+$~-]|%(?!2[Ff])))"
_SLASHES = r"/(?:\.?/)*"  # `//` and `/./` are one
_NEVER = r"(?!)"
_STORED_USER = re.compile(rf"((?:^|/){_ABOVE_USERS}/)\$USER(?=/|$)")


class _Person(NamedTuple):
    """Whoever runs this process."""

    homes: tuple[str, ...]  # the home folder by each of its paths
    names: tuple[str, ...]
    seen_by: tuple[str, ...]  # one of these is in every text that has something to mask
    pattern: re.Pattern[str]


def masked(text: str) -> str:
    """The text with `~` for the home folder, and `$USER` for the user's name where it names a folder of that user.

    Homes of other users stay, and so does a path that only begins like the home folder.
    """
    person = _person()
    if not any(sign in text for sign in person.seen_by):
        return text
    return person.pattern.sub(lambda found: HOME if found["root"] is None else f"{found['root']}{USER}", text)


def masked_all(value: Any) -> Any:
    """A copy of a value in JSON's types with every text in it masked, keys included."""
    match value:
        case str():
            return masked(value)
        case Mapping():
            return {masked_all(name): masked_all(item) for name, item in value.items()}
        case list() | tuple():
            return [masked_all(item) for item in value]
        case _:
            return value


def expanded(path: str) -> str:
    """A path that was typed or stored, with the folder for `~` and the name for `$USER`; everything else as it is.

    Where the home folder is known by several paths, the one counts under which there is something.
    """
    if path == HOME or path.startswith("~/"):
        own = [os.path.expanduser(HOME)] if os.environ.get("HOME") != "" else []
        return _there([f"{home.rstrip('/')}{path[1:]}" or "/" for home in (*own, *_person().homes)] or [path])
    if path.startswith(HOME):  # ~jane, another user's
        return os.path.expanduser(path)
    if _STORED_USER.search(path):
        named = [_with_name(path, name) for name in _person().names]
        return _there([path, *named], usual=min(1, len(named)))
    return path


def _with_name(path: str, name: str) -> str:
    return _STORED_USER.sub(lambda found: f"{found[1]}{name}", path)


def _there(paths: Sequence[str], usual: int = 0) -> str:
    """The first path at which there is something; where there is nothing at any, the one at the place `usual`."""
    return next((path for path in paths if os.path.lexists(path)), paths[usual])


def _person() -> _Person:
    return _known(*(os.environ.get(name, "") for name in ("HOME", "USERPROFILE", "USER", "LOGNAME")))


@lru_cache(maxsize=8)
def _known(*variables: str) -> _Person:
    """Args: variables: of the environment, on which all of it depends; the last two are names."""
    name, folder = _entry()
    homes = {way: None for home in (os.path.expanduser(HOME), folder) for way in _ways(home)}
    places = [place for home in homes if (place := re.search(rf"(?:^|/){_ABOVE_USERS}/([^/]+)$", home))]
    names = [one for one in dict.fromkeys([name, *variables[2:], *(place[1] for place in places)]) if _is_name(one)]
    ends = _spellings(os.path.basename(home) for home in homes)
    path = "|".join(re.escape(form).replace("/", _SLASHES) for form in _spellings(homes))
    own = "|".join(re.escape(form) for form in _spellings(names))
    pattern = (
        rf"{_START}(?:{path or _NEVER}){_END}|(?P<root>(?:(?<=/)|(?<![\w.~-])){_ABOVE_USERS}/)(?:{own or _NEVER}){_END}"
    )
    return _Person(tuple(homes), tuple(names), tuple(dict.fromkeys([*ends, *_spellings(names)])), re.compile(pattern))


def _entry() -> tuple[str, str]:
    """Name and home folder as the system's list of users has them; empty where they are not known."""
    try:
        found = pwd.getpwuid(os.getuid())
    except (AttributeError, KeyError, OSError):  # no such list, or a container's user, who is not in it
        return "", ""
    return found.pw_name, found.pw_dir


def _ways(home: str) -> list[str]:
    """The folder as it is called, and as it is called without symbolic links.

    There are none where it is no real folder below `/`: the root is nobody's home, though containers say so.
    """
    if not os.path.isabs(home) or not os.path.isdir(home):
        return []
    ways = [os.path.normpath(home), os.path.realpath(home)]
    return [] if any(os.path.dirname(way) == way for way in ways) else ways


def _is_name(name: str) -> bool:
    return bool(name) and "/" not in name and name not in {".", ".."}


def _spellings(texts: Iterable[str]) -> list[str]:
    """The texts as they stand in others: in pages, URLs, JSON and YAML, in both of Unicode's forms; long ones first."""
    found: dict[str, None] = {}
    for text in texts:
        for form in (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)):
            quoted = (quote(form, errors="surrogateescape"), quote(form, safe="", errors="surrogateescape"))
            inside = (json.dumps(form)[1:-1], json.dumps(form, ensure_ascii=False)[1:-1], form.replace("'", "''"))
            found |= dict.fromkeys([form, html.escape(form), *quoted, *inside])
    return sorted(found, key=len, reverse=True)
