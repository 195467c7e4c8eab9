"""Users' own modules: imported before a configuration is composed, so that their methods can be named in it."""

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from cdeval.config.fields import written_unless_default
from cdeval.errors import CdevalError, ConfigError, one_line
from cdeval.store.private import expanded

ENTRY_POINTS = ("cdeval.amateurs", "cdeval.plausibility", "cdeval.metrics")  # groups that installed packages may fill


@dataclass(kw_only=True)
class TakesPlugins:
    """The setting that all commands share; `load_plugins` reads it off the command line before the others."""

    # Users' modules, or files that end with .py: kinds of amateurs, rules of plausibility, metrics, architectures.
    plugins: list[str] = written_unless_default(factory=list)


@dataclass(frozen=True, slots=True)
class Plugin:
    """A module that is loaded, as `provenance.json` records it."""

    name: str  # of the module, or the path of its file
    file: str | None
    sha256: str | None  # of the file
    version: str | None  # of the package, or as the module's `__version__` says
    package: str | None  # that was installed and offers it; None: `plugins=[…]` names it
    offers: tuple[str, ...]  # the methods that it registers, as they are typed: amateur=blurred


class Lacking(NamedTuple):
    """Methods that are not there, because their plug-ins are not loaded."""

    methods: tuple[str, ...]  # as they are typed
    remedy: str  # what to do: add plugins=[my/metric.py]


# The end of a message about a method of that name that is not there.
UNKNOWN = "One of your own needs plugins=[<its file or module>]."

_LOADED: dict[str, Plugin] = {}  # by the module's name
_OFFERED: list[str] = []  # all methods that were registered, in that order


def load_plugins(modules: Sequence[str]) -> None:
    """Import the modules that `plugins=[…]` names and those that installed packages offer; each registers its methods.

    What is loaded already stays as it is.

    Raises: ConfigError: one cannot be imported; names it, and the line that failed.
    """
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` has it: a module beside the user is found
    for module in modules:
        _load(module_name(module), f"plugins=[{module}]")
    for group in ENTRY_POINTS:
        for entry in sorted(entry_points(group=group)):
            _load(entry.module, f"the installed plug-in {entry.name} ({group})", entry)


def named_plugins(arguments: Iterable[str]) -> list[str]:
    """Read the modules off a command line: `plugins=[a,b.c]`.

    >>> named_plugins(["search=greedy", "plugins=[a, b.c, my/metric.py]"])
    ['a', 'b.c', 'my/metric.py']
    """
    found: list[str] = []
    for argument in arguments:
        name, _, value = argument.lstrip("+").partition("=")
        if name == "plugins":
            found = [one.strip(" '\"") for one in value.strip("[]").split(",") if one.strip(" '\"")]
    return found


def module_name(named: str) -> str:
    """Name the module that a text of `plugins=[…]` stands for: itself, or the absolute path of a file.

    Raises: ConfigError: it is a path, and no file of Python's.
    """
    if os.sep not in named and not named.endswith(".py"):
        return named
    path = Path(expanded(named)).absolute()
    if path.suffix != ".py":
        raise ConfigError(
            f"plugins=[{named}]: expected a file that ends with .py, or a module's dotted name, as "
            "plugins=[my/metric.py,my_package.my_module]."
        )
    return os.path.normpath(path)


def offer(method: str) -> None:
    """Note that a method is registered, which is given as it is typed."""
    _OFFERED.append(method)


def loaded_plugins() -> list[Plugin]:
    """List what is loaded, for `provenance.json`."""
    return [_LOADED[name] for name in sorted(_LOADED)]


def lacking(plugins: Iterable[Mapping[str, Any]], methods: Iterable[str]) -> Lacking | None:
    """Find the methods of a study that no plug-in of this process offers, and say what brings them back.

    Args:
        plugins: as the study's records have them.
        methods: of the study that are wanted now, as they are typed.
    """
    wanted = set(methods).difference(_OFFERED)
    offering = {str(one["name"]): one for one in plugins if wanted.intersection(one["offers"])}
    found = sorted(wanted.intersection(method for one in offering.values() for method in one["offers"]))
    packages = {f"install {one['package']} {one['version']}": None for one in offering.values() if one["package"]}
    named = {name: None for name, one in offering.items() if not one["package"]}
    loaded = {one.name: None for one in loaded_plugins() if not one.package}
    typed = [f"add plugins=[{','.join(loaded | named)}]"] if named else []
    return Lacking(tuple(found), " and ".join([*packages, *typed])) if found else None


def check_loaded(config: object) -> None:
    """Check that the plug-ins which a configuration names are loaded.

    Raises: ConfigError: one is not, because a file of settings names it, which is read after plug-ins are loaded.
    """
    for named in getattr(config, "plugins", []):
        if module_name(named) not in _LOADED:
            raise ConfigError(
                f"plugins=[{named}] stands in a file of settings, which is read too late for it: give it on the "
                "command line."
            )


def _load(module: str, what: str, entry: EntryPoint | None = None) -> None:
    """Import a module; `what` names it in messages. Raises: ConfigError: it cannot be imported."""
    if module in _LOADED:
        return
    before = len(_OFFERED)
    try:
        found = _from_file(module) if module.endswith(".py") else importlib.import_module(module)
    except CdevalError as error:
        raise ConfigError(f"{what}: {error}") from error
    except Exception as error:
        raise ConfigError(f"{what}{_reason(module, error)}") from error
    _LOADED[module] = _described(module, found, entry, _OFFERED[before:])


def _from_file(path: str) -> ModuleType:
    """Import a file under its path as the module's name, so that files of one name do not meet.

    What lies beside it can be imported, too, unless an installed module has the same name.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"there is no file {path}.")
    spec = importlib.util.spec_from_file_location(path, path)
    if spec is None or spec.loader is None:  # no loader takes the file; none is known that refuses *.py
        raise ConfigError(f"{path} is no Python file.")
    if os.path.dirname(path) not in sys.path:
        sys.path.append(os.path.dirname(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[path] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path]
        raise
    return module


def _reason(module: str, error: Exception) -> str:
    """Say why a module cannot be imported, and where it fails."""
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if absent is not None and f"{module}.".startswith(f"{absent}."):
        return (
            f": there is no module {absent}. Give the path of a file, as plugins=[my/metric.py], or a module's dotted "
            "name, which is looked for in the command's folder and in PYTHONPATH."
        )
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{error.filename}:{error.lineno}" if isinstance(error, SyntaxError) else f"{frame.filename}:{frame.lineno}"
    return f" cannot be imported ({where}): {type(error).__name__}: {one_line(error)}."


def _described(name: str, module: ModuleType, entry: EntryPoint | None, offers: Sequence[str]) -> Plugin:
    package = entry.dist if entry is not None else None
    version = package.version if package is not None else getattr(module, "__version__", None)
    return Plugin(
        name=name,
        file=module.__file__,
        sha256=None if module.__file__ is None else hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest(),
        version=None if version is None else str(version),
        package=None if package is None else package.name,
        offers=tuple(dict.fromkeys(offers)),
    )
