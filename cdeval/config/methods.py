"""Methods by name: kinds of amateurs and rules of plausibility, ours and those of plug-ins, each with its own settings.

A method is one file that registers itself. This module knows none of them: it reads a registry's package when a name is
first looked up, because that package imports torch and this one must not. A plug-in's settings become fields of the
commands' schema (`extended`), so they are typed, checked and named in messages like ours.
"""

import copyreg
import hashlib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, make_dataclass, replace
from enum import Enum
from functools import cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from cdeval.config.fields import KEY, Rules, When
from cdeval.config.plugins import UNKNOWN, load_plugins, loaded_plugins, offer
from cdeval.errors import ConfigError, ModelError, did_you_mean

# Hydra's joblib and submitit launchers pickle the classes that `extended` makes, fields and all. A field without a
# default has `MISSING`, which is compared by identity and must not be copied.
copyreg.pickle(type(MISSING), lambda _mark: "MISSING")

Values = tuple[tuple[str, Any], ...]  # a method's own settings in the order of its declaration, to be hashed


@dataclass(frozen=True, slots=True)
class Origin:
    """The place of a plug-in's code."""

    module: str
    where: str  # file:line
    digest: str  # SHA-256 of the file: texts that other code made are other texts

    @classmethod
    def from_code(cls, code: Any) -> "Origin":
        """Find the file of a function or class. Raises: ConfigError: it is in no file."""
        try:
            file, line = inspect.getsourcefile(code) or "", inspect.getsourcelines(code)[1]
            content = Path(file).read_bytes()
        except (OSError, TypeError) as error:
            raise ConfigError(
                f"{code.__qualname__} is in no file that can be read: put a plug-in in a module."
            ) from error
        return cls(code.__module__, f"{file}:{line}", hashlib.sha256(content).hexdigest())


class Method:
    """A kind of amateur or a rule of plausibility."""

    name: str
    settings: Mapping[str, Any] = {}  # of its own, as dataclass fields by name; empty where the schema has them
    reads: frozenset[str] = frozenset()  # fields of the schema's group that not every method reads
    origin: Origin | None = None  # of a plug-in

    def values(self, config: object) -> Values:
        """Read the method's own settings from its group of the configuration, or their defaults."""
        found = ((name, getattr(config, name, one.default)) for name, one in self.settings.items())
        return tuple((name, value.value if isinstance(value, Enum) else value) for name, value in found)

    def failure(self, setting: str, problem: str) -> ModelError:
        """Make the error of a plug-in that broke."""
        where = self.origin.where if self.origin is not None else "cdeval"
        return ModelError(f"{setting}={self.name} ({where}) {problem}.")


M = TypeVar("M", bound=Method)


class Registry(Generic[M]):
    """Methods of one sort by name."""

    def __init__(self, setting: str, package: str, typed: str = "") -> None:
        """Take the setting that names a method, how it is typed, and the package of cdeval that registers ours."""
        self.setting, self._typed = setting, typed or f"{setting}={{}}"
        self._package: str | None = package
        self._methods: dict[str, M] = {}

    def add(self, method: M) -> None:
        """Register a method. Raises: ConfigError: another one has its name, or one of its settings is taken."""
        known = self._methods.get(method.name)
        if known is not None and known.origin != method.origin and _where(known) != _where(method):
            raise ConfigError(
                f"{self.typed(method.name)} is registered twice: {_where(known)} and {_where(method)}; rename one."
            )
        for other in self._methods.values():
            for name in method.settings.keys() & other.settings.keys():
                if other.name != method.name and _shape(method.settings[name]) != _shape(other.settings[name]):
                    raise ConfigError(
                        f"{method.name} ({_where(method)}) and {other.name} ({_where(other)}) both declare the setting "
                        f"{name}, with different defaults or ranges: rename one."
                    )
        self._methods[method.name] = method
        if method.origin is not None:
            offer(self.typed(method.name))
        extended.cache_clear()

    def __getitem__(self, name: str) -> M:
        """Look a method up. Raises: ConfigError: there is none of that name."""
        found = self._known().get(name)
        if found is None:
            known = did_you_mean(name, self._known())
            raise ConfigError(f"{self.typed(name)}: there is none of that name. {known} {UNKNOWN}")
        return found

    def typed(self, name: str) -> str:
        """Write a method's name as users type it."""
        return self._typed.format(name)

    def every(self) -> list[M]:
        """List all methods in the order in which they are registered; ours are imported now."""
        return list(self._known().values())

    def plugged(self) -> list[M]:
        """List the methods of plug-ins."""
        return [method for method in self._methods.values() if method.origin is not None]

    @contextmanager
    def lent(self, method: M) -> Iterator[None]:
        """Know a method without settings inside the `with` block alone; no other may have its name."""
        self._known()
        self._methods[method.name] = method
        try:
            yield
        finally:
            del self._methods[method.name]

    def forget(self, name: str) -> None:
        """Take a method out, as tests do."""
        self._methods.pop(name, None)
        extended.cache_clear()

    def _known(self) -> Mapping[str, M]:
        if self._package is not None:
            package, self._package = importlib.import_module(self._package), None
            for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                importlib.import_module(module.name)
        return self._methods


def _where(method: Method) -> str:
    return method.origin.where if method.origin is not None else "cdeval"


def _shape(one: Field[Any]) -> object:
    return type(one.default), one.default, one.metadata.get(KEY)


def declared(name: str, settings: Mapping[str, Any], where: str) -> dict[str, Field[Any]]:
    """Make fields of a plug-in's settings, which are defaults or what `cdeval.number` makes.

    Raises: ConfigError: a default is no number, text or truth value.
    """
    found = {}
    for key, given in settings.items():
        one = given if isinstance(given, Field) else field(default=given)
        if type(one.default) not in (bool, int, float, str):
            raise ConfigError(
                f"{name} ({where}): the setting {key} has the default {one.default!r}: expected a number, a text, true "
                f"or false, as {key}=0.1, or a range, as {key}=cdeval.number(0.1, least=0, most=1)."
            )
        found[key] = one
    return found


# By the name of a group of settings: the registry of its methods, and the field of the group that names one.
REGISTRIES: dict[str, tuple[Registry[Any], str]] = {}


def holds_methods(registry: Registry[Any], named_by: str) -> Callable[[type], type]:
    """Decorate a group of settings to which the methods of a registry add theirs; its field `named_by` names one."""

    def decorated(group: type) -> type:
        REGISTRIES[group.__name__] = registry, named_by
        return group

    return decorated


@cache
def extended(root: type) -> type:
    """Add the settings of all plug-ins, as fields of their groups, to the dataclass of a command's configuration.

    Returns: the same class where there are no plug-ins.

    Raises: ConfigError: a plug-in's setting has the name of one of ours.
    """
    hints = get_type_hints(root)
    added: list[tuple[str, Any, Any]] = []
    for entry in fields(root):
        kind = hints[entry.name]
        larger = extended(kind) if is_dataclass(kind) and isinstance(kind, type) else kind
        if larger is not kind:
            added.append((entry.name, larger, _of_larger(entry, larger)))
    if root.__name__ in REGISTRIES:
        added += _settings_of_plugins(root)
    if not added:
        return root
    return make_dataclass(root.__name__, added, bases=(root,), namespace={"__reduce__": _reduce, "_base": root})


def _of_larger(entry: Field[Any], larger: type) -> Any:
    """Make the same field for a group that has more settings."""
    make: Any = entry.default_factory

    def factory() -> object:
        group = make()
        return larger(**{one.name: getattr(group, one.name) for one in fields(group)})

    return field(default_factory=factory, metadata=entry.metadata)


def _settings_of_plugins(group: type) -> list[tuple[str, Any, Any]]:
    registry, named_by = REGISTRIES[group.__name__]
    ours = {one.name for one in fields(group)}
    owners: dict[str, list[Method]] = {}
    for method in registry.plugged():
        for name in method.settings:
            if name in ours:
                raise ConfigError(
                    f"{method.name} ({_where(method)}): {registry.setting} has a setting {name}: rename it."
                )
            owners.setdefault(name, []).append(method)
    found = []
    for name, methods in owners.items():
        one = methods[0].settings[name]
        owned = of_methods(one, registry.setting, named_by, *(method.name for method in methods))
        found.append((name, type(one.default), owned))
    return found


def of_methods(one: Any, setting: str, named_by: str, *methods: str) -> Any:
    """Make the same field, which is read and written down where one of these methods is named.

    Args:
        one: a dataclass field, as `number` makes it.
        setting: that names a method on the command line: amateur, contrast.plausibility.
        named_by: the field of the group that names it: kind, plausibility.
        methods: names of methods that read the field.
    """
    names = frozenset(methods)
    full = setting if "." in setting else f"{setting}.{named_by}"
    when = When(full, names.__contains__, f"add {' or '.join(f'{setting}={each}' for each in sorted(names))}")
    rules: Rules = one.metadata.get(KEY, Rules())
    rules = replace(rules, when=(*rules.when, when), written=partial(_named, named_by, names))
    return field(default=one.default, metadata={KEY: rules})


def _named(named_by: str, names: frozenset[str], group: object, _value: object) -> bool:
    """Tell whether a group of settings names one of these methods."""
    return getattr(group, named_by) in names


def named(name: str, settings: Values) -> str:
    """Name a method and its settings for readers in a few words."""
    shown = (f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in settings)
    return " ".join([name, *shown])


def plugged_modules() -> list[str]:
    """Name the modules of all plug-ins, also of those that no command loaded, for a process that is to load them."""
    found = (method.origin for registry, _ in REGISTRIES.values() for method in registry.plugged())
    return sorted({origin.module for origin in found if origin is not None} | {one.name for one in loaded_plugins()})


def _reduce(config: Any) -> tuple[Callable[..., object], tuple[object, ...]]:
    """Pickle by the class without plug-ins: another process imports them and extends it again."""
    values = {one.name: getattr(config, one.name) for one in fields(config)}
    return _restored, (config._base, plugged_modules(), values)


def _restored(base: type, modules: list[str], values: Mapping[str, object]) -> object:
    load_plugins(modules)
    return extended(base)(**values)
