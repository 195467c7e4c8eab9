"""The way from a text to its trace: the page where there is one, else the command that makes it.

A command is the arm's settings as `config.yaml` and its point have them, less those that `cdeval.trace` has anyway and
those that nothing reads.
"""

import json
import os
import re
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import quote

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cdeval.config.fields import Leaf, plain_values, value_of
from cdeval.config.naming import slug
from cdeval.config.paths import CONF
from cdeval.config.schema import MISSING, RunConfig
from cdeval.config.unread import read_by
from cdeval.report.studyfiles import Arm, Study
from cdeval.store.private import masked

TRACES = "traces"  # folder of a study's traces, beside its run folders
_USUAL = {"expert": "smollm2", "amateur": "early_exit", "contrast": "default", "search": "beam", "prompts": "news"}
_CHOSEN = {"amateur": "kind", "search": "kind", "prompts": "source"}  # what a group's files are called after
# A trace looks its prompt up among all of them, and is of one text.
_LEFT_OUT = frozenset({"prompts.limit", "prompts.split", "search.samples"})
_UNTRACEABLE = frozenset({"contrastive_search", "hf"})  # `cdeval.decode.trace.check_traceable`
_PLAIN = re.compile(r"[A-Za-z0-9_./:~-]+")  # needs no quotes, neither for Hydra nor for a shell


class Tracer(NamedTuple):
    """The traces of one arm."""

    settings: str  # of the command, ready for a shell
    folder: Path  # of the pages
    name: str  # with which their names begin

    def page(self, prompt: str) -> Path:
        """The place of a prompt's trace."""
        return self.folder / f"{self.name}-{slug(prompt)[:60].strip('.-') or 'prompt'}.html"

    def arguments(self, prompt: str) -> str:
        """The arguments that name a prompt and its page, beside `settings`; ready for a shell."""
        words = [f"id={hydra_value(prompt)}", f"out={hydra_value(masked(str(self.page(prompt))))}"]
        return shlex.join(words)


def tracer_of(arm: Arm) -> Tracer | None:
    """The traces of an arm; None for human texts, for searches that weigh no tokens, and where settings are unknown."""
    if arm.is_human or arm.setting.get("search") in _UNTRACEABLE or not arm.setting:
        return None
    try:
        settings = shlex.join(overrides(arm.config, arm.setting))
    except (OmegaConfBaseException, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None  # settings of another release, or written by hand: no command is better than a wrong one
    return Tracer(masked(settings), arm.path.parent / TRACES, arm.path.name)


def link(page: Path, text: str, study: Study) -> str:
    """The address of a trace's page, relative to the report; empty where there is none, or one of another text."""
    try:
        record = json.loads(page.with_suffix(".json").read_bytes())
        if not page.is_file() or masked(record["continuation"]) != masked(text):
            return ""
        return quote(Path(os.path.relpath(page, study.folder)).as_posix())
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def overrides(config: Mapping[str, Any], setting: Mapping[str, Any]) -> list[str]:
    """List what `cdeval.trace` must be told to write an arm's texts.

    Args:
        config: of its run folder.
        setting: of its point, which says where the expert is alone although the command had an amateur.

    Raises: OmegaConfBaseException, KeyError, TypeError, ValueError: the settings are not those of this release.
    """
    own: dict[str, Any] = {name: dict(config[name]) for name in _USUAL}
    if setting["amateur"]["kind"] == "none":
        own["amateur"] = {"kind": "none"}
        if "plausibility" not in setting:
            own["contrast"] = {}
    if setting.get("adaptive_exit") is None:
        own["search"].pop("adaptive_exit", None)
    named = {group: str(own[group][key]) for group, key in _CHOSEN.items()}
    chosen = _USUAL | {group: name for group, name in named.items() if (CONF / group / f"{name}.yaml").is_file()}
    base = _base(tuple(chosen.items()))
    typed = _typed({**{group: _file(group, chosen[group]) | own[group] for group in own}, "seed": config["seed"]})
    found = [f"{group}={name}" for group, name in chosen.items() if name != _USUAL[group]]
    for leaf in read_by(typed):
        if _belongs(leaf) and value_of(typed, leaf.name) != value_of(base, leaf.name):
            found.append(f"{leaf.name}={hydra_value(plain_values(value_of(typed, leaf.name)))}")
    plugins = config.get("plugins")
    return [*found, *([f"plugins={hydra_value(plugins)}"] if plugins else [])]


def _belongs(leaf: Leaf) -> bool:
    return (leaf.name.split(".")[0] in _USUAL or leaf.name == "seed") and leaf.name not in _LEFT_OUT


@cache  # the arms of a study have few
def _base(chosen: tuple[tuple[str, str], ...]) -> RunConfig:
    """The settings of a trace that is told nothing but these files of settings."""
    found = _typed({group: _file(group, name) for group, name in chosen})
    found.search.max_new_tokens = _read(CONF / "trace.yaml")["search"]["max_new_tokens"]
    return found


@cache
def _schema() -> DictConfig:
    """The settings and their types, which take a tenth of a second to read off the classes."""
    return cast(DictConfig, OmegaConf.structured(RunConfig))


def _typed(values: Mapping[str, Any]) -> RunConfig:
    merged = OmegaConf.merge(_schema(), OmegaConf.create(dict(values)))
    return cast(RunConfig, OmegaConf.to_object(merged))


def _file(group: str, name: str) -> dict[str, Any]:
    return _read(CONF / group / f"{name}.yaml")


def _read(path: Path) -> dict[str, Any]:
    """A file of settings; what it leaves to the user is not set."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: None if value == MISSING else value for name, value in found.items() if name != "defaults"}


def hydra_value(value: object) -> str:
    """Write a value as Hydra reads it in an override.

    >>> hydra_value([1, None, "a b"]), hydra_value(True), hydra_value("news-1")
    ('[1,null,"a b"]', 'true', 'news-1')
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case list():
            return f"[{','.join(map(hydra_value, value))}]"
    text = str(value)
    if (
        _PLAIN.fullmatch(text)
        and text.lower() not in {"null", "true", "false"}
        and not re.fullmatch(r"[\d.:e-]+", text)
    ):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
