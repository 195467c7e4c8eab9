"""Users' own modules: imported before a configuration is composed, so that their methods can be named in it."""

import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points

from cdeval.errors import CdevalError, ConfigError, one_line

ENTRY_POINTS = ("cdeval.amateurs", "cdeval.plausibility", "cdeval.metrics")  # groups that installed packages may fill


def load_plugins(modules: Sequence[str]) -> None:
    """Import the modules that `plugins=[…]` names and those that installed packages offer; each registers its methods.

    Raises: ConfigError: one cannot be imported; names it, and the line that failed.
    """
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` has it: a module beside the user is found
    for module in modules:
        _load(module, f"plugins=[{module}]")
    for group in ENTRY_POINTS:
        for entry in sorted(entry_points(group=group)):
            _load(entry.module, f"the installed plug-in {entry.name} ({group})")


def named_plugins(arguments: Iterable[str]) -> list[str]:
    """Read the modules off a command line: `plugins=[a,b.c]`.

    >>> named_plugins(["search=greedy", "plugins=[a, b.c]"])
    ['a', 'b.c']
    """
    found: list[str] = []
    for argument in arguments:
        name, _, value = argument.lstrip("+").partition("=")
        if name == "plugins":
            found = [one.strip(" '\"") for one in value.strip("[]").split(",") if one.strip(" '\"")]
    return found


def _load(module: str, what: str) -> None:
    """Import a module; `what` names it in messages. Raises: ConfigError: it cannot be imported."""
    try:
        importlib.import_module(module)
    except CdevalError as error:
        raise ConfigError(f"{what}: {error}") from error
    except Exception as error:
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        if absent is not None and f"{module}.".startswith(f"{absent}."):
            remedy = "give a module's dotted name without .py, and run the command in the folder that it lies in"
            raise ConfigError(f"{what}: there is no module {absent}; {remedy}, or set PYTHONPATH.") from error
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = (
            f"{error.filename}:{error.lineno}" if isinstance(error, SyntaxError) else f"{frame.filename}:{frame.lineno}"
        )
        raise ConfigError(f"{what} cannot be imported ({where}): {type(error).__name__}: {one_line(error)}.") from error
