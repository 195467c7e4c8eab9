"""Settings that are set and that nothing reads are refused, by the conditions that stand beside them in the schema."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cdeval.config.fields import Leaf, When, leaves, shown, value_of
from cdeval.config.readers import asks_methods
from cdeval.errors import ConfigError


class Given(NamedTuple):
    """The place where a setting was set."""

    where: str = ""  # the file; empty: on the command line
    unless: frozenset[str] = frozenset()  # groups and settings that the command line chose after this was written


def changed(config: object) -> dict[str, Given]:
    """The settings that differ from their defaults, for configurations that were made in Python."""
    return {leaf.name: Given() for leaf in leaves(type(config)).values() if value_of(config, leaf.name) != leaf.default}


def check_read(points: Sequence[tuple[object, Mapping[str, Given]]]) -> None:
    """Check that each setting that was set is read by at least one of the points of a command.

    Raises: ConfigError: one is read by none; names the setting, why, and what to type.
    """
    if not points:
        return
    settings = leaves(type(points[0][0]))
    for name in dict.fromkeys(name for _, given in points for name in given):
        leaf = settings.get(name)
        if leaf is None:
            continue
        reasons = [_reason(config, leaf, given[name], settings) for config, given in points if name in given]
        first = next(iter(reasons))
        if first is not None and None not in reasons:
            raise ConfigError(first)


def read_by(config: object) -> list[Leaf]:
    """List the settings that a configuration reads, by the conditions of its own values.

    Methods are not asked what they read, which would load all of them and torch: what only some of them read counts.
    """
    settings = leaves(type(config))
    return [
        leaf
        for leaf in settings.values()
        if not any(_fails(config, when, settings) for when in leaf.when if not asks_methods(when))
    ]


def _reason(config: object, leaf: Leaf, given: Given, settings: Mapping[str, Leaf]) -> str | None:
    """Why the setting is not read; None where it is, or where it is null or none and asks for nothing."""
    value = value_of(config, leaf.name)
    asks = value not in (None, [], {}) and getattr(value, "name", "") != "none"
    failing = next((when for when in leaf.when if _fails(config, when, settings)), None)
    if not asks or failing is None or {failing.setting, failing.setting.split(".")[0]} & given.unless:
        return None
    named = failing.setting.removesuffix(".kind").removesuffix(".source")
    of_file = f" ({given.where})" if given.where else ""
    remedy = failing.remedy if isinstance(failing.remedy, str) else failing.remedy()
    return (
        f"{leaf.name}={shown(value)}{of_file} is not read with {named}={shown(value_of(config, failing.setting))}: "
        f"{remedy}, or leave {leaf.name} out."
    )


def _fails(config: object, when: When, settings: Mapping[str, Leaf]) -> bool:
    by = getattr(config, "decided_by", {}).get(when.setting, when.setting)
    value: Any = value_of(config, by)
    fails = when.setting in settings and not when.holds(value)
    return fails and (when.otherwise is None or _fails(config, when.otherwise, settings))
