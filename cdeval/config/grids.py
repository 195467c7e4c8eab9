"""An arm and the settings that may be tried for it, on one line of what `cdeval.run` takes.

    nucleus search.top_p=0.8,0.9,0.95 search.temperature=0.7,1

It begins with the name of a file in `conf/arm`, or has overrides alone. What Hydra would sweep is the arm's grid:
commas, `choice(…)`, `range(…)`; `interval(a,b)` is a range of numbers to draw from, `tag(log,interval(a,b))` on a log
scale.
"""

import math
import random
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from cdeval.config.fields import leaves
from cdeval.config.letters import as_meant
from cdeval.config.overrides import check_key, check_overrides
from cdeval.errors import ConfigError, did_you_mean

Values = tuple[str, ...]  # overrides as they are typed: search.top_p=0.9


class TunedArm(NamedTuple):
    """An arm and the settings that are tried for it."""

    line: str  # as it was given
    fixed: Values  # overrides that all of its settings have
    tried: tuple[Values, ...]  # overrides of each setting beside these

    @property
    def name(self) -> str:
        """The line without its grid."""
        return " ".join(word.removeprefix("+arm=") for word in self.fixed) or self.line


def tuned_arm(
    line: str, known: Collection[str], spaces: Mapping[str, str], root: type, count: int, seed: int
) -> TunedArm:
    """Read an arm and choose the settings that are tried: all of its grid, or so many drawn from it.

    Args:
        line: the arm.
        known: names of the files in `conf/arm`.
        spaces: grids by the names of arms, for lines that have none.
        root: the dataclass of the command's configuration.
        count: the number of settings.
        seed: of the draw.

    Raises: ConfigError: there is no such arm or setting, or the grid is smaller than that.
    """
    named, parsed = _read(line, known, root)
    if named and not any(one.is_sweep_override() for one in parsed):
        parsed += [_parsed(word, root) for word in _words(spaces.get(named[0], ""))]
    fixed = [str(one.input_line) for one in parsed if not one.is_sweep_override()]
    axes = [one for one in parsed if one.is_sweep_override()]
    return TunedArm(line, (*(f"+arm={name}" for name in named), *fixed), _tried(line, axes, count, seed))


def fixed_arm(line: str, known: Collection[str], root: type) -> Values:
    """Read an arm that is one setting; arguments as of `tuned_arm`. Raises: ConfigError: it is none, or several."""
    named, parsed = _read(line, known, root)
    several = next((one.input_line for one in parsed if one.is_sweep_override()), None)
    if several is not None:
        raise ConfigError(f"arms: {line!r}: {several} is several settings: give each a line of its own.")
    return (*(f"+arm={name}" for name in named), *(str(one.input_line) for one in parsed))


def _read(line: str, known: Collection[str], root: type) -> tuple[list[str], list[Override]]:
    """The arm's name, if it has one, and its overrides. Raises: ConfigError: there is no such arm or setting."""
    words = _words(line)
    named = [word for word in words if "=" not in word]
    for name in named:
        if name not in known or words[0] != name:
            raise ConfigError(f"arms: {line!r}: {name} is the name of no arm. {did_you_mean(name, known)}")
    return named, [_parsed(word, root) for word in words[len(named) :]]


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise ConfigError(f"arms: {line!r} cannot be read: {error}.") from error


def _parsed(word: str, root: type) -> Override:
    meant = as_meant(word, leaves(root))
    check_overrides([meant], root)
    return OverridesParser.create().parse_override(meant)


def _tried(line: str, axes: Sequence[Override], count: int, seed: int) -> tuple[Values, ...]:
    draw = random.Random(f"{seed} {line}")
    lists = {at: _listed(axis) for at, axis in enumerate(axes) if not isinstance(axis.value(), IntervalSweep)}
    found: dict[Values, None] = {}
    if len(lists) < len(axes):
        for _ in range(100 * count):
            if len(found) < count:
                one = [draw.choice(lists[at]) if at in lists else _drawn(axis, draw) for at, axis in enumerate(axes)]
                found[tuple(one)] = None
        if len(found) == count:
            return tuple(found)
    total = len(found) if len(lists) < len(axes) else math.prod(len(values) for values in lists.values())
    if total < count:
        what = f"its grid has {total} settings" if axes else "it has no grid: no setting of it has several values"
        fewer = f"settings={total}, or " if total > 1 else ""
        raise ConfigError(
            f"arms: {line!r}: settings={count}, and {what}. All arms have equally many: give {fewer}more values, as "
            "'nucleus search.top_p=0.8,0.9,0.95 search.temperature=0.7,1'."
        )
    places = range(total) if total == count else sorted(draw.sample(range(total), count))
    return tuple(_at(place, list(lists.values())) for place in places)


def _listed(axis: Override) -> list[str]:
    """The values of an axis, each as an override."""
    return list(dict.fromkeys(f"{axis.get_key_element()}={value}" for value in axis.sweep_string_iterator()))


def _drawn(axis: Override, draw: random.Random) -> str:
    sweep: Any = axis.value()
    if isinstance(sweep.start, int) and isinstance(sweep.end, int):
        return f"{axis.get_key_element()}={draw.randint(sweep.start, sweep.end)}"
    if "log" in sweep.tags:
        value = math.exp(draw.uniform(math.log(sweep.start), math.log(sweep.end)))
    else:
        value = draw.uniform(sweep.start, sweep.end)
    return f"{axis.get_key_element()}={value:.4g}"


def _at(place: int, lists: Sequence[Sequence[str]]) -> Values:
    """One point of the product of lists, the last of which runs fastest."""
    found = []
    for values in reversed(lists):
        place, at = divmod(place, len(values))
        found.append(values[at])
    return tuple(reversed(found))


def as_yaml(overrides: Sequence[str], root: type) -> tuple[dict[str, str], dict[str, Any]]:
    """Sort overrides into files of groups, by group, and single values, nested as a YAML file has them.

    Raises: ConfigError: one is of no setting.
    """
    groups: dict[str, str] = {}
    values: dict[str, Any] = {}
    for text in overrides:
        override = OverridesParser.create().parse_override(text)
        key, value = override.key_or_group, override.value()
        check_key(key, root)
        if "." not in key and isinstance(value, str) and key not in leaves(root):
            groups[key] = value
            continue
        *path, name = key.split(".")
        inner = values
        for part in path:
            inner = inner.setdefault(part, {})
        inner[name] = value
    return groups, values
