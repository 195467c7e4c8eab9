"""The arguments `key=value`, checked against the schema in words of the settings before Hydra reads them."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_origin, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Sweep
from hydra.errors import HydraException

from cdeval.config.fields import Leaf, leaves, shown
from cdeval.config.given import BUNDLES
from cdeval.config.methods import REGISTRIES
from cdeval.config.paths import CONF
from cdeval.config.plugins import UNKNOWN
from cdeval.errors import ConfigError, did_you_mean

# With one of these, Hydra judges several values of a setting itself; but for the first two, it refuses them.
_JUDGED = ("--multirun", "-m", "--run", "-r", "--cfg", "-c", "--info", "-i")


def check_overrides(arguments: Sequence[str], root: type) -> bool:
    """Check the names in `key=value` arguments against the schema before Hydra sees them.

    Hydra accepts `+typo=3` silently and explains `typo=3` without saying what was meant.

    Returns: whether one of them has several values, and no argument of Hydra's says what is done with them.

    Raises: ConfigError: an unknown key, with the closest known one; an argument that cannot be read; a setting or a
        group of them that would be taken out.
    """
    settings, several = leaves(root), ""
    for argument in arguments:
        if argument.startswith("~") and not argument.startswith("~hydra"):
            raise ConfigError(f"{argument!r} would take settings out that the command needs: give them other values.")
        if argument.startswith("-") or "=" not in argument:
            continue
        name = argument.lstrip("+").split("=")[0].split("@")[0]
        group = is_dataclass(_field_types(root).get(name))
        try:
            override = OverridesParser.create().parse_override(argument)
            if group and not isinstance(override.value(), str | list | dict) and not override.is_sweep_override():
                raise ConfigError(f"{argument!r} leaves {name} without values: {_choices(name)}.")
        except HydraException as error:
            if group:
                raise ConfigError(f"{argument!r} names no file of settings: {_choices(name)}.") from error
            raise _unreadable(argument, settings.get(name)) from error
        key = override.key_or_group.split("@")[0]
        if key.split(".")[0].split("/")[0] not in ("hydra", *BUNDLES):
            check_key(key, root)
            _check_kind(argument, override, settings.get(key))
        several = several or (argument if override.is_sweep_override() else "")
    judged = [flag for flag in _JUDGED if flag in (one.partition("=")[0] for one in arguments)]
    if several and judged and judged[0] not in _JUDGED[:2]:
        raise ConfigError(f"{several} has several values, and {judged[0]} is about one: give one, or leave it out.")
    return bool(several) and not judged


def _unreadable(argument: str, leaf: Leaf | None) -> ConfigError:
    """Make the error of a value that Hydra's grammar does not read, which says so in words of its own."""
    name, _, value = argument.lstrip("+").partition("=")
    missing = [close for opening, close in ("[]", "{}", "()") if value.count(opening) > value.count(close)]
    if missing:
        return ConfigError(f"{argument!r} cannot be read: a {missing[0]} is missing.")
    expected = f"a list, as {name}=[…]" if leaf is not None and get_origin(leaf.kind) is list else "one value"
    return ConfigError(f"{argument!r} cannot be read: expected {expected}. Text with signs stands in quotes: '\"…\"'.")


def _check_kind(argument: str, override: Override, leaf: Leaf | None) -> None:
    """Refuse what Hydra would refuse in the words of its own types, or take for something else."""
    if leaf is None:
        return
    if get_origin(leaf.kind) is list:
        _check_list(argument, override, leaf)
    if override.is_sweep_override():
        return
    value = override.value()
    if value is None and not leaf.optional:
        raise ConfigError(
            f"{argument}: {leaf.name} needs a value; leave it out for the usual one, {shown(leaf.default)}."
        )
    if leaf.kind is bool and isinstance(value, int | float) and value not in (0, 1):
        raise ConfigError(f"{argument}: expected true or false.")


def _check_list(argument: str, override: Override, leaf: Leaf) -> None:
    """Refuse one value, or several with commas, where a list is meant: commas alone are a sweep over lists."""
    value = override.value()
    lists = value.list if isinstance(value, ChoiceSweep) else [value]
    if not isinstance(value, Sweep) or isinstance(value, ChoiceSweep):
        typed = argument.partition("=")[2].replace("'", "").strip("[]")
        if any(one is not None and not isinstance(one, list) for one in lists):
            raise ConfigError(f"{argument}: expected a list. Type {leaf.name}=[{typed}].")


def _choices(group: str) -> str:
    names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    known = f"{group}= takes one of {', '.join(names)}" if names else f"{group} has settings, as {group}.<name>=…"
    return f"{known}; {_model(group, '…')}" if group in ("expert", "amateur") else known


def no_file(group: str, name: str, known: Iterable[str]) -> str:
    """Say that a group has no file of settings of this name, and what may be meant."""
    own = UNKNOWN if group == "amateur" else "A file of your own needs --config-dir <its folder>."
    own += f" And {_model(group, name)}." if group in ("expert", "amateur") else ""
    return f"{group}={name}: there is none of that name. {did_you_mean(name, known)} {own}"


def _model(group: str, name: str) -> str:
    return f"a model by folder or hub id is {group}={'hub' if group == 'expert' else 'model'} {group}.name={name}"


def check_key(key: str, root: type) -> None:
    """Check that a command has a setting of this dotted name. Raises: ConfigError: it has none."""
    schema: Any = root
    path = ""
    for part in key.replace("/", ".").split("."):
        if get_origin(schema) is dict:  # whose keys are the user's
            return
        known = _field_types(schema)
        if part not in known:
            names = [*known, *BUNDLES] if not path else list(known)
            where = f" in {path}" if path else ""
            if not known:
                raise ConfigError(f"unknown setting {key!r}: {path} has a value and no settings of its own.")
            homes = [group for group, kind in _field_types(root).items() if part in _field_types(kind)]
            hint = f"Did you mean '{homes[0]}.{part}'?" if homes and not path else did_you_mean(part, names)
            hint += f" {UNKNOWN}" if getattr(schema, "__name__", "") in REGISTRIES else ""
            raise ConfigError(f"unknown setting {key!r}: there is no {part!r}{where}. {hint}")
        schema = known[part]
        path = f"{path}.{part}" if path else part


@cache  # every key of every point of a sweep is looked up
def _field_types(schema: Any) -> dict[str, Any]:
    if not is_dataclass(schema):
        return {}
    hints = get_type_hints(schema)
    return {entry.name: hints[entry.name] for entry in fields(schema)}
