"""The condition that a setting is read by the method which another setting names, as `amateur.layer` by an amateur."""

from functools import partial

from cdeval.config.fields import When
from cdeval.config.methods import REGISTRIES


def only_methods_that_read(field_name: str, setting: str) -> When:
    """Make the condition that the method which a setting names, as amateur.kind, reads a field of its group.

    The methods say so in `reads`; they are asked when a configuration is checked, and not while the schema is read.
    """
    # Functions of the module, because a process of joblib is sent them by name, and a closure with all that it reads.
    return When(setting, partial(_is_read, field_name, setting), partial(_readers_typed, field_name, setting))


def asks_methods(when: When) -> bool:
    """Tell whether a condition is one of `only_methods_that_read`, which load every method of their kind."""
    return isinstance(when.holds, partial) and when.holds.func is _is_read


def _readers(field_name: str, setting: str) -> dict[str, str]:
    """How the methods are typed that read a field, by name."""
    registry = next(registry for registry, by in REGISTRIES.values() if setting == f"{registry.setting}.{by}")
    return {method.name: registry.typed(method.name) for method in registry.every() if field_name in method.reads}


def _is_read(field_name: str, setting: str, name: object) -> bool:
    """Tell whether a method reads a field."""
    return name in _readers(field_name, setting)


def _readers_typed(field_name: str, setting: str) -> str:
    """Say what to type so that a field is read."""
    return f"add {' or '.join(_readers(field_name, setting).values())}"
