"""Objects that settings name by `_target_`, as Hydra writes them: {_target_: my.module.Processor, n: 1.5}."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count
from pkgutil import resolve_name
from typing import Any, cast

from cdeval.config.methods import Origin
from cdeval.errors import ConfigError, one_line

TARGET = "_target_"

_LENT: dict[str, Callable[..., Any]] = {}  # by names that no module can have
_NUMBERS = count(1)  # calls in several threads may lend what is called alike


def written(values: Mapping[str, Any]) -> str:
    """Write settings as one text, the same for the same settings: a part of what a text is stored under.

    >>> written({"top_k": 5, "do_sample": True})
    '{"do_sample": true, "top_k": 5}'
    """
    return json.dumps(values, sort_keys=True, ensure_ascii=False) if values else ""


def located(path: object, setting: str) -> Any:
    """Import what a dotted path names. Raises: ConfigError: there is nothing callable of that name."""
    if path in _LENT:
        return _LENT[str(path)]
    try:
        if not isinstance(path, str) or "." not in path:
            raise ImportError("it is no dotted path")
        found = resolve_name(path)
    except Exception as error:  # whatever the module does when it is imported
        raise ConfigError(
            f"{setting}.{TARGET}={path} cannot be imported: {type(error).__name__}: {one_line(error)}. Give the dotted "
            "name of a class or function, as my_module.MyProcessor, which is looked for in the command's folder and in "
            "PYTHONPATH."
        ) from error
    if not callable(found):
        raise ConfigError(f"{setting}.{TARGET}={path} is {type(found).__name__}: expected a class or a function.")
    return found


def made(value: Any, setting: str) -> Any:
    """Make a value whose parts may name objects: each `_target_` is called with the values beside it.

    Raises: ConfigError: one cannot be imported, or takes no such values.
    """
    if isinstance(value, Mapping):
        parts = {str(name): made(inner, f"{setting}.{name}") for name, inner in value.items() if name != TARGET}
        return _called(located(value[TARGET], setting), parts, setting) if TARGET in value else parts
    if isinstance(value, list | tuple):
        return [made(inner, f"{setting}[{place}]") for place, inner in enumerate(value)]
    return value


def callable_of(given: Mapping[str, Any], setting: str) -> Callable[..., Any]:
    """Find the callable that `_target_` names: a function with the values beside it filled in, or an object of a class.

    Raises: ConfigError: it cannot be imported, takes no such values, or is an object that cannot be called.
    """
    code, values = located(given.get(TARGET), setting), {name: one for name, one in given.items() if name != TARGET}
    try:
        inspect.signature(code).bind_partial(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{setting}: {given[TARGET]}: {one_line(error)}.") from error
    if inspect.isclass(code):
        found = made(given, setting)
        if not callable(found):
            raise ConfigError(f"{setting}.{TARGET}={given[TARGET]}: its objects cannot be called: give it __call__.")
        return cast("Callable[..., Any]", found)
    return partial(code, **made(values, setting)) if values else cast("Callable[..., Any]", code)


@contextmanager
def lent(code: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """Make settings that name a callable of a Python caller's, inside the `with` block alone."""
    name = f"{next(_NUMBERS)}.{getattr(code, '__qualname__', type(code).__name__)}"
    _LENT[name] = code
    try:
        yield {TARGET: name}
    finally:
        del _LENT[name]


def _called(code: Any, values: Mapping[str, Any], setting: str) -> Any:
    try:
        return code(**values)
    except Exception as error:  # whatever a user's code raises
        name = getattr(code, "__qualname__", repr(code))
        given = ", ".join(f"{key}={value!r}" for key, value in values.items())
        raise ConfigError(
            f"{setting}: {name}({given}) raises {type(error).__name__}: {one_line(error)}. Give the arguments that it "
            f"takes beside {TARGET}."
        ) from error


def code_digests(text: str, setting: str) -> list[str]:
    """Find SHA-256 of the files of all that a setting names, as `written` writes it: other code makes other texts.

    Raises: ConfigError: one cannot be imported.
    """
    found = []
    for path in _targets(json.loads(text) if text else {}):
        code = located(path, setting)
        try:
            found.append(Origin.from_code(inspect.unwrap(code)).digest)
        except (ConfigError, AttributeError):  # of no file that can be read, as what is compiled
            found.append(str(path))
    return found


def _targets(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from ([value[TARGET]] if TARGET in value else [])
        for inner in value.values():
            yield from _targets(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _targets(inner)


def named_values(values: Mapping[str, Any]) -> str:
    """Write settings for readers in a few words.

    >>> named_values({"do_sample": True, "logits_processor": [{"_target_": "mine.TopNSigma", "n": 1.5}]})
    'do_sample TopNSigma(n=1.5)'
    """
    return " ".join(_word(name, value) for name, value in sorted(values.items()))


def _word(name: str, value: Any) -> str:
    parts = value if isinstance(value, list | tuple) else [value]
    if parts and all(isinstance(part, Mapping) and TARGET in part for part in parts):
        return "+".join(map(_shown, parts))
    return name if value is True else f"{name}={_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ",".join(f"{name}={_shown(one)}" for name, one in value.items() if name != TARGET)
        return f"{str(value.get(TARGET, '')).rpartition('.')[2]}({inner})"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
