"""The settings that a user set: by the command line, in files of their own, and by the protocol that was chosen.

Values that come with cdeval's own files are no wish of the user's and may go unread: `+preset=paper_gpt2xl` sets a
contrast for those of its arms that have one.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from cdeval.config.fields import Leaf, leaves, owner_of, shown, value_of
from cdeval.config.paths import CONF
from cdeval.config.unread import Given
from cdeval.errors import ConfigError

# Config groups that are no fields of a root: bundles of settings, added with `+`.
BUNDLES = ("preset", "sweep", "arm", "task", "tune")

FUSED = "fused"  # cdeval's launcher, which hands over all points of a sweep at once
_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)


class Written(NamedTuple):
    """A file of settings."""

    path: Path
    bundle: bool  # written for several commands: what they choose otherwise need not be read
    values: dict[str, Any]  # by the names of settings


def given_by(hydra: DictConfig, config: object) -> dict[str, Given]:
    """Collect the settings that were set, by their names.

    Args: hydra: Hydra's own part of the composed configuration. config: what was composed, as dataclasses.
    Raises: ConfigError: a file of the user's has a number where text is meant.
    """
    settings = leaves(type(config))
    overrides = list(hydra.overrides.task)
    chosen = frozenset(override.lstrip("+").split("=")[0] for override in overrides)
    chosen |= {"amateur", "search"} if "arm" in chosen else set()
    # Hydra's own launchers hand over one point of a sweep at a time: what this one does not read, another one may.
    partly = hydra.mode is RunMode.MULTIRUN and hydra.runtime.choices["hydra/launcher"] != FUSED
    typed = Given(unless=chosen if partly else frozenset())
    found: dict[str, Given] = {}
    for file in _files(hydra):
        _check_letters(file, settings)
        unless = chosen if file.bundle else typed.unless
        names = filter(None, (_setting(name, settings) for name in file.values))
        found |= {name: Given(file.path.name, unless) for name in names}
    return {**found, **_of_protocol(hydra, config, typed), **{name: typed for name in _typed(overrides, settings)}}


def _of_protocol(hydra: DictConfig, config: object, typed: Given) -> dict[str, Given]:
    """Collect the chosen protocol's settings; beside amateur=none, its control, there is nothing to contrast."""
    path = CONF / "protocol" / f"{hydra.runtime.choices.get('protocol')}.yaml"
    if not path.is_file() or value_of(config, "amateur.kind") == "none":
        return {}
    settings = leaves(type(config))
    names = [name for name in _written(path, "protocol").values if name in settings]
    # A rule that the user names stands in the place of the protocol's alpha, which then need not be read.
    where = Given(f"protocol={path.stem}", typed.unless | {"contrast.plausibility"})
    return {name: where for name in names if value_of(config, name) != settings[name].default}


def _typed(overrides: list[str], settings: Mapping[str, Leaf]) -> Iterator[str]:
    for override in overrides:
        key, value = _parsed(override)
        names = _flat(value, f"{key}.") if isinstance(value, dict) else [key, f"{key}.kind", f"{key}.source"]
        yield from filter(None, (_setting(name, settings) for name in names))


def _setting(name: str, settings: Mapping[str, Leaf]) -> str:
    """The setting that a name is of; empty where it is none."""
    return name if name in settings else owner_of(name, settings)


@lru_cache(maxsize=4096)  # the points of a sweep are made of few different overrides
def _parsed(override: str) -> tuple[str, Any]:
    parsed = OverridesParser.create().parse_override(override)
    return parsed.key_or_group.split("@")[0], parsed.value()


def _files(hydra: DictConfig) -> list[Written]:
    """The files of the user's own config folders that were composed, without those that cdeval brings."""
    sources = [
        Path(source.path)
        for source in hydra.runtime.config_sources
        if source.schema == "file" and source.path and Path(source.path) != CONF
    ]
    if not sources:
        return []
    found: list[Written] = []
    names = {"": hydra.job.config_name, **hydra.runtime.choices}
    for group, choices in names.items():
        if group.startswith("hydra"):
            continue
        for choice in choices if isinstance(choices, list) or OmegaConf.is_list(choices) else [choices]:
            found += _with_bases(f"{group}/{choice}".lstrip("/"), group, sources)
    return found


def _with_bases(name: str, group: str, sources: list[Path]) -> list[Written]:
    """A file of the user's and those of its folder that it starts from; none where the name is cdeval's own."""
    if (CONF / f"{name}.yaml").is_file():
        return []
    path = next((folder / f"{name}.yaml" for folder in sources if (folder / f"{name}.yaml").is_file()), None)
    if path is None:
        return []
    file = _written(path, group)
    bases = [one for one in file.values.get("defaults", []) if isinstance(one, str) and one != "_self_"]
    return [found for base in bases for found in _with_bases(f"{group}/{base}", group, sources)] + [file]


def _written(path: Path, group: str) -> Written:
    return _read(path, group, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)  # the points of a sweep are composed of the same files
def _read(path: Path, group: str, _changed: int) -> Written:
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        header = _PACKAGE.search(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, OmegaConfBaseException, YAMLError):  # Hydra reads it, too, and says what is wrong
        return Written(path, bundle=True, values={})
    package = "_group_" if header is None else header[1]
    prefix = {"_global_": "", "_group_": f"{group.replace('/', '.')}." if group else ""}.get(package, f"{package}.")
    values = dict(_flat_items(content, prefix)) if isinstance(content, dict) else {}
    if isinstance(content, dict):
        values["defaults"] = content.get("defaults", [])
        values["params"] = value_of(content, "hydra.sweeper.params") or {}
    return Written(path, bundle=prefix == "", values=values)


def _flat(values: Mapping[Any, Any], prefix: str) -> list[str]:
    return [name for name, _ in _flat_items(values, prefix)]


def _flat_items(values: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat_items(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _check_letters(file: Written, settings: Mapping[str, Leaf]) -> None:
    """YAML reads `1.10` as a number, whose letters are lost; a sweep's parameters are read by Hydra likewise."""
    written = [(name, value) for name, value in file.values.items() if name in settings]
    for name, given in file.values.get("params", {}).items():
        if str(name).lstrip("+") in settings:
            written += [(str(name).lstrip("+"), value) for value in _swept(str(name), given)]
    for name, value in written:
        for one in value if isinstance(value, list) else [value]:
            if settings[name].text is not None and isinstance(one, int | float):
                raise ConfigError(
                    f"{file.path}: {name} is text, and YAML reads what stands there as {shown(one)}, without the "
                    f'letters that were typed: write it in quotes, as "…".'
                )


def _swept(name: str, given: object) -> list[Any]:
    if not isinstance(given, str):
        return [given]
    parsed = OverridesParser.create().parse_override(f"{name}={given}")
    each: Callable[[], Any] = parsed.sweep_iterator if parsed.is_sweep_override() else lambda: [parsed.value()]
    return list(each())
