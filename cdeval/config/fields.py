"""The rules that a setting's field declares about itself: its range, the conditions under which it is read, its form.

`number`, `text` and `group` make dataclass fields whose metadata carries these rules, so that each rule stands beside
the setting that it is about. `check_values` applies the ranges at the door of every command; `cdeval.config.unread`
asks who reads what was set; `cdeval.config.letters` asks what is text.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints
from unicodedata import category

from cdeval.errors import ConfigError
from cdeval.store.private import expanded

KEY = "cdeval"  # of the metadata
_NAME_BYTES = 255  # of one part of a path: what Linux and macOS file systems take
_LINE_BYTES = 4095  # of a whole path, or of any other text of one line
_PROSE_BYTES = 1_000_000
_MOST_ENTRIES = 10_000  # of a list
_CONTROL = ("Cc", "Zl", "Zp")  # Unicode categories: control characters, line and paragraph separators


class TextForm(Enum):
    """The form of a text."""

    line = "line"  # one line without control characters, each part between slashes short enough for a file name
    prose = "prose"  # anything a person may write
    lines = "lines"  # one of the first kind, or a list of them


@dataclass(frozen=True, slots=True)
class When:
    """A setting that must have some value for another one to be read."""

    setting: str  # as it is typed: amateur.selection
    holds: Callable[[Any], bool]
    remedy: str | Callable[[], str]  # what to do: add amateur.selection=confidence
    otherwise: "When | None" = None  # another condition that will do instead


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers that a setting may be."""

    least: float
    most: float
    open_least: bool = False  # `least` itself is too small
    open_most: bool = False
    word: str | None = None  # what may stand for a number
    hint: str = ""

    def holds(self, value: object) -> bool:
        """Whether it is the word, or a number in the range."""
        if isinstance(value, str):
            return value == self.word
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            return False
        above = value > self.least if self.open_least else value >= self.least
        below = value < self.most if self.open_most else value <= self.most
        return above and below

    def expected(self, *, whole: bool, optional: bool) -> str:
        """The range in words."""
        if whole:
            interval = f"{self.least} to {self.most}"
        else:
            left, right = "(" if self.open_least else "[", ")" if self.open_most else "]"
            interval = f"a number in {left}{self.least:g}, {self.most:g}{right}"
        words = [interval, *filter(None, [self.word]), *(["null"] if optional else [])]
        shown = ", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else interval
        return shown + (f"; {self.hint}" if self.hint else "")


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules in one field's metadata."""

    range: Range | None = None
    text: TextForm | None = None
    when: tuple[When, ...] = ()
    label: bool = False  # a text that names no file, and in which `~` is a letter
    # By its group and value, whether it is written down; None: always. What is new must not change older records.
    written: Callable[[Any, Any], bool] | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting of a command."""

    name: str  # as it is typed: search.beams
    kind: Any  # its type without None
    optional: bool  # null is a value
    default: object
    rules: Rules
    when: tuple[When, ...]  # its own conditions and those of its groups

    @property
    def text(self) -> TextForm | None:
        """The form of the setting, where it is text."""
        if self.rules.text is not None:
            return self.rules.text
        if self.kind is str:
            return TextForm.line
        return TextForm.lines if self.kind == list[str] else None


def number(  # noqa: PLR0913 - named arguments, most with a default
    default: Any = MISSING,
    *,
    least: float,
    most: float,
    open_least: bool = False,
    open_most: bool = False,
    word: str | None = None,
    hint: str = "",
    when: tuple[When, ...] = (),
    factory: Any = MISSING,
) -> Any:
    """A field that holds a number, or a list of numbers, between two bounds; the arguments are those of `Range`."""
    rules = Rules(Range(least, most, open_least, open_most, word, hint), None, when)
    return field(default=default, default_factory=factory, metadata={KEY: rules})


def text(default: Any, kind: TextForm = TextForm.line, *, when: tuple[When, ...] = (), label: bool = False) -> Any:
    """A field that holds text."""
    return field(default=default, metadata={KEY: Rules(None, kind, when, label)})


def read_when(*when: When, default: Any = MISSING, factory: Any = MISSING, label: bool = False) -> Any:
    """A field, or a whole group of them, that is read under conditions only."""
    return field(default=default, default_factory=factory, metadata={KEY: Rules(None, None, when, label)})


def only(setting: str, *values: Enum | str, remedy: str | None = None) -> When:
    """The condition that a setting is one of some choices."""
    named = setting.removesuffix(".kind").removesuffix(".source")
    return When(
        setting, lambda value: value in values, f"add {remedy or ' or '.join(f'{named}={shown(v)}' for v in values)}"
    )


def written_unless_default(
    *when: When, default: Any = MISSING, factory: Any = MISSING, form: TextForm | None = None
) -> Any:
    """A field of text that is written down only where it is not its default, and perhaps read under conditions."""
    usual = default if factory is MISSING else factory()
    rules = Rules(text=form, when=when, written=lambda _group, value: value != usual)
    return field(default=default, default_factory=factory, metadata={KEY: rules})


def new_number(default: Any, **given: Any) -> Any:
    """A field as `number` makes it that is written down only where it is not its default."""
    rules: Rules = number(default, **given).metadata[KEY]
    return field(default=default, metadata={KEY: replace(rules, written=lambda _group, value: value != default)})


def plain_values(config: object) -> Any:
    """A configuration as JSON-ready values, enums by name, without what its fields say is not written down."""
    if is_dataclass(config):
        return {
            entry.name: plain_values(getattr(config, entry.name))
            for entry in fields(config)
            if (written := entry.metadata.get(KEY, Rules()).written) is None
            or written(config, getattr(config, entry.name))
        }
    if isinstance(config, Enum):
        return config.name
    if isinstance(config, Mapping):
        return {key: plain_values(inner) for key, inner in config.items()}
    return [plain_values(inner) for inner in config] if isinstance(config, list | tuple) else config


def leaves(root: type) -> dict[str, Leaf]:
    """All settings of a command's dataclass by name, through its groups."""
    return {leaf.name: leaf for leaf in _leaves(root, "", ())}


def _leaves(root: type, path: str, when: tuple[When, ...]) -> Iterator[Leaf]:
    hints = get_type_hints(root)
    for entry in fields(root):
        rules: Rules = entry.metadata.get(KEY, Rules())
        name = f"{path}{entry.name}"
        conditions = (*when, *rules.when)
        kind, optional = _without_none(hints[entry.name])
        if is_dataclass(kind):
            yield from _leaves(kind, f"{name}.", conditions)  # type: ignore[arg-type]
            continue
        default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
        yield Leaf(name, kind, optional or kind is Any, default, rules, conditions)


def owner_of(name: str, settings: Mapping[str, Leaf]) -> str:
    """The setting whose keys are the user's and that a name is of, be it itself; empty where there is none."""
    while name and name not in settings:
        name = name.rpartition(".")[0]
    return name if name and get_origin(settings[name].kind) is dict else ""


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) not in (Union, UnionType):
        return hint, False
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if len(kinds) == 1 else Union[tuple(kinds)], len(kinds) < len(get_args(hint))  # noqa: UP007


def value_of(config: object, name: str) -> Any:
    """The value of a setting by its dotted name; None where the command has no such setting."""
    value: Any = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else getattr(value, part, None)
    return value


def expand_paths(config: object) -> None:
    """Put the home folder for `~` in the settings that may be paths; whoever reads them need not know of it."""
    for leaf in leaves(type(config)).values():
        if leaf.text is None or leaf.text is TextForm.prose or leaf.rules.label:
            continue
        group, _, name = leaf.name.rpartition(".")
        owner = value_of(config, group) if group else config
        value = getattr(owner, name, None)
        if isinstance(value, str):
            setattr(owner, name, expanded(value))
        elif isinstance(value, list):
            setattr(owner, name, [expanded(one) if isinstance(one, str) else one for one in value])


def check_values(config: object) -> None:
    """Check each setting of a command's configuration against what its field says.

    Raises: ConfigError: a number is out of its range, a text cannot name anything, a list is too long.
    """
    for leaf in leaves(type(config)).values():
        value = value_of(config, leaf.name)
        if isinstance(value, list | tuple) and len(value) > _MOST_ENTRIES:
            raise ConfigError(f"{leaf.name} has {len(value)} entries: expected at most {_MOST_ENTRIES}.")
        for one in value if isinstance(value, list | tuple) else [value]:
            allowed = leaf.rules.range
            if allowed is not None and one is not None and not allowed.holds(one):
                raise ConfigError(f"{leaf.name}={shown(value)} is out of range: expected {_expected(leaf, allowed)}.")
            if isinstance(one, str):
                _check_text(leaf.name, one, leaf.text)


def _expected(leaf: Leaf, allowed: Range) -> str:
    kinds = set(get_args(leaf.kind)) or {leaf.kind}
    expected = allowed.expected(whole=int in kinds and float not in kinds, optional=leaf.optional)
    return f"numbers, each {expected}" if get_origin(leaf.kind) is list else expected


def _check_text(name: str, given: str, kind: TextForm | None) -> None:
    if not given:
        raise ConfigError(f"{name}= is empty: expected text; leave it out for the usual value.")
    try:
        encoded = given.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{name}={given!a} is not UTF-8: expected text in UTF-8; rename what it names, or set the terminal's "
            "encoding."
        ) from error
    prose = kind is TextForm.prose
    most = _PROSE_BYTES if prose else _LINE_BYTES
    if len(encoded) > most:
        raise ConfigError(f"{name}={given[:40]}… has {len(encoded)} bytes: expected at most {most}.")
    strange = [sign for sign in given if (sign == "\0" if prose else category(sign) in _CONTROL)]
    if strange:
        raise ConfigError(f"{name}={given!a} holds the control character {strange[0]!a}: expected text without any.")
    if prose:
        return
    for part in given.split("/"):
        if len(part.encode()) > _NAME_BYTES:
            raise ConfigError(
                f"{name}={given[:40]}… has a part of {len(part.encode())} bytes between slashes: no file system takes "
                f"more than {_NAME_BYTES}. Shorten it."
            )


def shown(value: object) -> str:
    """A value as it is typed.

    >>> shown([4, 0.5]), shown(None), shown(True)
    ('[4,0.5]', 'null', 'true')
    """
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, list | tuple):
        return f"[{','.join(map(shown, value))}]"
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else str(value)
    )
