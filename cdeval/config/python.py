"""The groups of settings that `cdeval.api` offers, with the values that a command has from the files of `conf/`."""

from dataclasses import MISSING, dataclass, fields, replace
from enum import Enum
from typing import Any

import yaml

from cdeval.config.enums import SearchKind
from cdeval.config.exits import AdaptiveExitConfig
from cdeval.config.fields import number
from cdeval.config.paths import CONF
from cdeval.config.schema import SearchConfig
from cdeval.errors import ConfigError, did_you_mean


@dataclass
class SearchByKind(SearchConfig):
    """`cdeval.api.Search`: `Search("nucleus")` is what `search=nucleus` is for a command.

    The first argument names a file of `conf/search`, whose values stand for all that are not given.
    """

    beams: int = number(None, least=1, most=1000)  # None: as many as the search's file says

    def __post_init__(self) -> None:
        """Read the search's file. Raises: ConfigError: there is none of that name."""
        named: object = self.kind  # perhaps a text
        name = named.name if isinstance(named, Enum) else named
        known = [path.stem for path in sorted((CONF / "search").glob("*.yaml"))]
        if not isinstance(name, str) or name not in known:
            raise ConfigError(f"search={name}: there is none of that name. {did_you_mean(str(name), known)}")
        usual = {
            one.name: one.default if one.default_factory is MISSING else one.default_factory() for one in fields(self)
        }
        found = _of_file(name)
        self.kind = SearchKind[found.pop("kind")]
        for key, value in found.items():
            given = vars(self)[key]
            if given == usual[key]:
                setattr(self, key, _as_typed(given, value))


def _as_typed(given: object, value: Any) -> Any:
    """The value of a file, of the type of what it replaces."""
    if isinstance(given, AdaptiveExitConfig):
        return replace(given, **value)
    return type(given)[value] if isinstance(given, Enum) else value


def _of_file(name: str) -> dict[str, Any]:
    """The values of a file of searches and of those that it starts from."""
    own: dict[str, Any] = yaml.safe_load((CONF / "search" / f"{name}.yaml").read_text("utf-8"))
    bases = own.pop("defaults", [])
    return {key: value for base in bases for key, value in _of_file(base).items()} | own
