"""The arguments of a command as people type them, made into those that Hydra reads.

    --amateur.layer=20, --amateur.layer 20      amateur.layer=20
    --sweep layers, sweep=layers                +sweep=layers
    expert=EleutherAI/pythia-70m                expert=hub expert.name=EleutherAI/pythia-70m
    prompts=mine.jsonl                          prompts=file prompts.path=mine.jsonl

What cannot be meant gets the line to type, in cdeval's words: argparse and Hydra's grammar would speak of their own.
"""

import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path

from cdeval.config.given import BUNDLES
from cdeval.config.paths import CONF
from cdeval.errors import ConfigError

# Arguments of Hydra's: those that take a value, and the others.
_WITH_VALUE = {
    **dict.fromkeys(("--config-dir", "-cd", "--config-path", "-cp"), "<folder>"),
    **dict.fromkeys(("--config-name", "-cn", "--package", "-p", "--experimental-rerun"), "<name>"),
    **dict.fromkeys(("--cfg", "-c"), "job"),
}
_FOLDERS = ("--config-dir", "-cd", "--config-path", "-cp")
_SHORT = {"-m": "--multirun", "-c": "--cfg", "-r": "--run", "-i": "--info", "-sc": "--shell-completion"}
_MODES = frozenset(_SHORT.values())  # of which there can be one
_WORDS = {*_SHORT, *_MODES, "--help", "-h", "--hydra-help", "--version", "--resolve"} - {"--cfg", "-c"}
_PAGES = {"--cfg": ("job", "hydra", "all")}
_PAGES["-c"] = _PAGES["--cfg"]
_INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")

_SETTING = re.compile(r"[+~]{0,2}[\w./@-]+=|~")  # the beginning of one
_NUMBER = re.compile(r"-\.?\d")

# Groups that take a file of conf/, and what is meant by a model or a file of prompts in its place.
_BY_NAME = {"expert": ("hub", "name"), "amateur": ("model", "name"), "prompts": ("file", "path")}


def as_settings(arguments: Sequence[str]) -> list[str]:
    """Write settings as `name=value`, behind the arguments of Hydra's: argparse refuses settings on both sides of one.

    Raises: ConfigError: an argument is neither, or lacks its value; two of Hydra's exclude each other.

    >>> as_settings(["--sweep", "layers", "--multirun", "seed=1", "--config-dir", "mine", "--contrast.beta=2"])
    ['--multirun', '--config-dir', 'mine', '+sweep=layers', 'seed=1', 'contrast.beta=2']
    """
    flags: list[str] = []
    settings: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        name = argument.partition("=")[0]
        if name in _WITH_VALUE:
            flags += _with_value(argument, waiting)
        elif name in _WORDS:
            if name not in (argument, "--info"):
                raise ConfigError(f"{argument}: {name} takes no value. Type {name}.")
            flags.append(argument)
            if argument in ("--info", "-i") and waiting and waiting[0] in _INFO:
                flags.append(waiting.pop(0))
        elif argument.startswith("-") and not _NUMBER.match(argument):
            settings.append(_without_dashes(argument, waiting))
        elif _SETTING.match(argument):
            settings.append(argument)
        else:
            raise _stray(argument, settings, waiting)
    modes = sorted({_SHORT.get(flag, flag) for flag in (each.partition("=")[0] for each in flags)} & _MODES)
    if len(modes) > 1:
        raise ConfigError(f"{' and '.join(modes)} exclude each other: leave out all but one.")
    return flags + [f"+{one}" if one.partition("=")[0] in BUNDLES else one for one in settings]


def named_files(arguments: Sequence[str], known: Collection[str]) -> Iterator[str]:
    """Put two settings for a group's that names a model or a file of prompts in the place of a file of settings.

    Args: arguments: as `as_settings` makes them. known: the settings of the command.
    """
    folders = [CONF, *(Path(given) for flag, given in _flags(arguments) if flag in _FOLDERS)]
    for argument in arguments:
        group, _, value = argument.partition("=")
        choice, field = _BY_NAME.get(group, ("", ""))
        meant = f"{group}.{field}" in known and not any((at / group / f"{value}.yaml").is_file() for at in folders)
        if meant and all(_is_named(group, one) for one in value.split(",")):
            yield from (f"{group}={choice}", f"{group}.{field}={value}")
        else:
            yield argument


def _is_named(group: str, value: str) -> bool:
    """Whether a value is no file of settings, but a model by folder or hub id, or a file of prompts."""
    if value[:1] in ("", "{", "[", "'", '"', "$"):
        return False
    if group == "prompts":
        return value.endswith((".json", ".jsonl"))
    return (
        "/" in value or value.startswith("embedded:") or value.endswith(".gguf") or Path(value, "config.json").is_file()
    )


def _flags(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Hydra's arguments that have a value, with it."""
    for at, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag in _WITH_VALUE:
            yield flag, value if equals else arguments[at + 1]


def _with_value(argument: str, waiting: list[str]) -> list[str]:
    """An argument of Hydra's with its value, which may be the next one. Raises: ConfigError: it has none."""
    flag, equals, value = argument.partition("=")
    if not equals:
        if not waiting:
            raise ConfigError(f"{flag} needs a value: type {flag} {_WITH_VALUE[flag]}.")
        value = waiting.pop(0)
    if flag in _PAGES and value not in _PAGES[flag]:
        raise ConfigError(f"{flag} {value}: expected one of {', '.join(_PAGES[flag])}, as {flag} job.")
    return [argument] if equals else [argument, value]


def _without_dashes(argument: str, waiting: list[str]) -> str:
    """A setting that was typed as `--name=value` or `--name value`. Raises: ConfigError: it has no value."""
    name, equals, value = argument.lstrip("-").partition("=")
    name = name.replace("-", "_")
    if equals:
        return f"{name}={value}"
    if waiting and not _SETTING.match(waiting[0]) and (waiting[0][:1] != "-" or _NUMBER.match(waiting[0])):
        return f"{name}={waiting.pop(0)}"
    flags = [flag for flag in (*_WORDS, *_WITH_VALUE) if flag.startswith("--")]
    close = get_close_matches(argument, flags, n=1, cutoff=0.8)
    hint = f"Did you mean {close[0]}?" if close else f"A setting has a value: type {name or 'amateur.layer'}=<value>."
    raise ConfigError(f"there is no argument {argument}. {hint} --help lists all settings.")


def _stray(argument: str, before: Sequence[str], after: Sequence[str]) -> ConfigError:
    """Make the error of an argument that is no setting, with the line that is likely to be meant."""
    bundles = [f"+{group}={argument}" for group in BUNDLES if (CONF / group / f"{argument}.yaml").is_file()]
    rest = list(takewhile(lambda one: not one.startswith("-") and not _SETTING.match(one), after))
    value = "".join(rest[: 2 if rest[:1] == ["="] else 1]).removeprefix("=")
    if bundles:
        hint = f"Type {bundles[0]}."
    elif value and ("." in argument or (CONF / argument).is_dir() or not before):
        hint = f"Type {argument}={value}."
    elif before:
        space = "" if before[-1].endswith("=") else " "
        hint = f"Type {shlex.quote(' '.join([f'{before[-1]}{space}{argument}', *rest]))}."
    else:
        hint = "--help lists all settings."
    return ConfigError(f"{argument!r} is no setting: expected name=value, as amateur.layer=20. {hint}")
