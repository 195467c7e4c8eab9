"""Pages of the documentation's reference, generated from the code: a page a command, a page a group, metrics, methods.

What a page says of a setting stands beside the setting: its type, its range and the condition under which it is read in
the metadata of its field, its meaning in the comment above or behind it, the meaning of choices in their docstring.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cdeval.bench.config import BenchRun
from cdeval.calibrate.config import CalibrateRun
from cdeval.compare import CompareRun
from cdeval.config.amateur import AMATEURS, Amateur
from cdeval.config.commands import COMMANDS
from cdeval.config.fields import KEY, Leaf, Rules, leaves, shown, value_of
from cdeval.config.paths import CONF
from cdeval.config.plausibility import RULES
from cdeval.config.schema import AmateurConfig, ContrastConfig, RunConfig, SearchConfig
from cdeval.config.setting import Sampling, Setting
from cdeval.config.words import word_of
from cdeval.dashboard import DashboardRun
from cdeval.export.config import ExportRun
from cdeval.judge.config import JudgeRun
from cdeval.lens.config import LensRun
from cdeval.merge import MergeConfig
from cdeval.metrics.registry import all_metrics
from cdeval.price.config import PriceRun
from cdeval.report.config import ReportRun
from cdeval.score.config import ScoreConfig
from cdeval.tasks.config import TasksRun
from cdeval.trace.config import TraceRun
from cdeval.tune.config import TuneRun

ROOTS: dict[str, type] = {
    "run": RunConfig,
    "score": ScoreConfig,
    "report": ReportRun,
    "compare": CompareRun,
    "merge": MergeConfig,
    "lens": LensRun,
    "trace": TraceRun,
    "calibrate": CalibrateRun,
    "judge": JudgeRun,
    "tune": TuneRun,
    "tasks": TasksRun,
    "export": ExportRun,
    "price": PriceRun,
    "bench": BenchRun,
    "dashboard": DashboardRun,
}
GROUPS = tuple(entry.name for entry in fields(RunConfig) if is_dataclass(get_type_hints(RunConfig)[entry.name]))
_HEAD = "| setting | usual | may be | meaning |\n|---|---|---|---|\n"


def pages() -> dict[str, str]:
    """Write every generated page, Markdown by its path below docs/."""
    found = {f"reference/commands/{name}.md": command_page(name) for name in ROOTS}
    found |= {f"reference/settings/{name}.md": group_page(name) for name in GROUPS}
    return found | {
        "reference/metrics.md": metrics_page(),
        "reference/methods.md": methods_page(),
        "reference/columns-of-settings.md": columns_page(),
    }


@cache
def comments(root: type) -> Mapping[str, str]:
    """The comments of a dataclass's fields: the lines above one, or what stands behind it; inherited ones, too."""
    found: dict[str, str] = {}
    for owner in reversed(root.__mro__):
        if is_dataclass(owner) and owner.__module__.startswith("cdeval"):
            found |= _comments_of(owner)
    return found


def _comments_of(owner: type) -> dict[str, str]:
    source = textwrap.dedent(inspect.getsource(owner))
    lines, found = source.splitlines(), {}
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above = []
        for line in reversed(lines[: node.lineno - 1]):
            if not line.strip().startswith("#"):
                break
            above.insert(0, line.strip().lstrip("# "))
        behind = re.findall(r"#\s(?!noqa)(.+)$", "\n".join(lines[node.lineno - 1 : node.end_lineno]), re.MULTILINE)
        found[node.target.id] = " ".join([*above, *behind])
    return found


@cache
def usual(command: str) -> object:
    """The setting that a command runs where nothing is typed, as its dataclass; a missing value is left out."""
    ConfigStore.instance().store(name="schema", node=ROOTS[command])
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_object(compose(command))


def command_page(name: str) -> str:
    """Write a command's page: what it does, its own settings, and the groups of settings that it shares with others."""
    root, config = ROOTS[name], usual(name)
    help_lines = _template(name)
    own = {key: leaf for key, leaf in leaves(root).items() if key.split(".")[0] not in GROUPS}
    shared = [entry.name for entry in fields(root) if entry.name in GROUPS]
    parts = [f"# cdeval {name}", help_lines[0], _example(name, help_lines[1])]
    if own:
        parts += ["## Its own settings", _table(own, root, config)]
    if shared:
        parts += ["## Groups of settings", "\n".join(_shared(group, config) for group in shared)]
    return "\n\n".join(parts) + "\n"


def _template(name: str) -> tuple[str, str]:
    """The first sentences of a command's --help, and its examples."""
    text: str = yaml.safe_load((CONF / f"{name}.yaml").read_text("utf-8"))["hydra"]["help"]["template"]
    first = text.split("\n\n", maxsplit=1)[0].replace("\n", " ").strip()
    return first, text.rpartition("$CONFIG")[2].strip()


def _example(name: str, examples: str) -> str:
    lines = "\n".join(f"    {line}" for line in examples.splitlines())
    return (
        f"`cdeval {name} …` is `python -m cdeval.{name}`. {COMMANDS[name].capitalize()}.\n\n"
        f'??? example "From its --help"\n\n    ```text\n{lines}\n    ```'
    )


def _shared(group: str, config: object) -> str:
    """A line on a group: its page, and what differs here from cdeval run."""
    other = usual("run")
    names = [name for name in leaves(type(config)) if name.startswith(f"{group}.")]
    differing = [name for name in names if value_of(config, name) != value_of(other, name)]
    values = ", ".join(f"`{name}={shown(value_of(config, name))}`" for name in differing)
    return f"- [{group}](../settings/{group}.md)" + (f"; usual here: {values}" if values else "")


def group_page(group: str) -> str:
    """Write the page of a group: what it is, its settings, its choices, and the files that set several at once."""
    kind = get_type_hints(RunConfig)[group]
    found = {name: leaf for name, leaf in leaves(RunConfig).items() if name.startswith(f"{group}.")}
    own = [f"{group}.{name}" for name in vars(kind)["__annotations__"]]  # before those of the classes that it extends
    found = {name: found[name] for name in [*(name for name in own if name in found), *found]}
    parts = [f"# {group}", str(inspect.getdoc(kind)), _table(found, RunConfig, usual("run"))]
    meanings = [
        _choices(leaf.kind) for leaf in found.values() if inspect.isclass(leaf.kind) and issubclass(leaf.kind, Enum)
    ]
    parts += dict.fromkeys(meanings)
    parts += [_files(group)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _choices(kind: type[Enum]) -> str:
    """The docstring of a kind of choices: it says what each is."""
    names = ", ".join(f"`{name}`" for name in kind.__members__)
    return f"## {kind.__name__}\n\n{names}\n\n{inspect.getdoc(kind)}"


def _files(group: str) -> str:
    """The files of a group, `group=<name>` each, folded."""
    paths = sorted((CONF / group).glob("*.yaml"))
    if not paths:
        return ""
    parts = [f"## Files: `{group}=…`", "Each is typed by its name and sets what stands in it."]
    for path in paths:
        body = "\n".join(f"    {line}".rstrip() for line in path.read_text("utf-8").splitlines())
        parts.append(f'??? note "{group}={path.stem}"\n\n    ```yaml\n{body}\n    ```')
    return "\n\n".join(parts)


def _table(found: Mapping[str, Leaf], root: type, config: object) -> str:
    rows = []
    for name, leaf in found.items():
        group, _, field_name = name.rpartition(".")
        owner: Any = root
        for part in filter(None, group.split(".")):
            owner = get_type_hints(owner)[part]
        meaning = ". ".join(filter(None, [_meaning(owner, field_name), _read(leaf)]))
        rows.append(f"| `{name}` | `{_usual(leaf, config)}` | {_may_be(leaf)} | {_cell(meaning)} |")
    return _HEAD + "\n".join(rows)


def _meaning(owner: type, name: str) -> str:
    """The comment of a field, or else the first sentence about its choices."""
    kind = get_type_hints(owner)[name]
    choices = str(inspect.getdoc(kind)).partition("\n")[0] if inspect.isclass(kind) and issubclass(kind, Enum) else ""
    return _sentence(comments(owner).get(name, "") or choices)


def _usual(leaf: Leaf, config: object) -> str:
    value = value_of(config, leaf.name)
    text = shown(value) if not isinstance(value, dict) else "{}" if not value else "{…}"
    return text if len(text) <= 40 else f"{text[:39]}…"


def _may_be(leaf: Leaf) -> str:
    allowed, kinds = leaf.rules.range, set(get_args(leaf.kind)) or {leaf.kind}
    if allowed is not None:
        return _cell(allowed.expected(whole=int in kinds and float not in kinds, optional=leaf.optional))
    if inspect.isclass(leaf.kind) and issubclass(leaf.kind, Enum):
        return " · ".join(f"`{name}`" for name in leaf.kind.__members__)
    words = {bool: "true or false", str: "text", int: "a whole number", float: "a number", Any: "a value or a list"}
    named = words.get(leaf.kind, "a list" if "list" in str(leaf.kind) else "values by name")
    return f"{named} or null" if leaf.optional and leaf.kind is not Any else named


def _read(leaf: Leaf) -> str:
    remedies = [when.remedy if isinstance(when.remedy, str) else when.remedy() for when in leaf.when]
    return f"To use it, {' and '.join(dict.fromkeys(remedies))}" if remedies else ""


def _sentence(text: str) -> str:
    """A comment as a sentence without its full stop; a Greek letter stays as it is."""
    return (text[:1].upper() if text[:1].isascii() else text[:1]) + text[1:].rstrip(".")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def metrics_page() -> str:
    """Write the dictionary of metrics: name, unit, direction, and the docstring of the file that defines it."""
    rows = [
        f"| `{one.name}` | {_cell(one.label)} | {_cell(one.unit)} | {one.better.name} | {_cell(one.place.value)} |"
        for one in all_metrics()
    ]
    parts = [
        "# Metrics, by name",
        "A name is what `metrics.only=[…]` takes, and the column of `results.csv`; `<name>_low` and `<name>_high` are "
        "the ends of its interval. [Metrics](../metrics.md) says how they are made and read.",
        "| name | label | unit | better | shown |\n|---|---|---|---|---|\n" + "\n".join(rows),
        "## Definitions",
    ]
    modules = dict.fromkeys(sys.modules[type(one).__module__] for one in all_metrics())
    for module in modules:
        first, _, rest = str(inspect.getdoc(module)).partition("\n")
        body = "\n".join(f"    {line}".rstrip() for line in rest.strip("\n").splitlines())
        parts.append(f'??? note "{first.replace(chr(34), chr(39))}"\n\n    ```text\n{body}\n    ```')
    return "\n\n".join(parts) + "\n"


def methods_page() -> str:
    """Write the kinds of amateurs and the rules of plausibility, each with the docstring of its file."""
    parts = ["# Amateurs and rules, by name"]
    for title, registry in (("Kinds of amateurs", AMATEURS), ("Rules of plausibility", RULES)):
        parts.append(f"## {title}")
        for method in registry.every():
            doc = inspect.getdoc(sys.modules[type(method).__module__]) or inspect.getdoc(type(method)) or ""
            first, _, rest = doc.partition("\n")
            own = ", ".join(f"`{name}`" for name in method.settings)
            body = "\n".join(f"    {line}".rstrip() for line in rest.strip("\n").splitlines())
            more = f'\n\n??? note "More of {method.name}"\n\n    ```text\n{body}\n    ```' if body else ""
            settings = f" Its own settings: {own}." if own else ""
            parts.append(f"### `{registry.typed(method.name)}`\n\n{first}{settings}{more}")
    return "\n\n".join(parts) + "\n"


def columns_page() -> str:
    """Write the columns of settings in results.csv, from the comments of what they are made of."""
    settings = {**_meanings(AmateurConfig), **_meanings(ContrastConfig), **_meanings(SearchConfig)}
    rows = [
        f"| `{word_of(prefix + entry.name)}` | {_cell(_meaning(kind, entry.name) or settings.get(entry.name, ''))} |"
        for prefix, kind in (("", Setting), ("amateur.", Amateur), ("sampling.", Sampling))
        for entry in fields(kind)
        if not is_dataclass(get_type_hints(kind)[entry.name])
    ]
    return (
        "# Columns of settings\n\nThese columns of `results.csv` are the setting that shapes an arm's texts, under the "
        "words that one types: layers are blocks, whatever was typed, and what an arm does not read is left out.\n\n"
        "| column | what |\n|---|---|\n" + "\n".join(rows) + "\n"
    )


def _meanings(group: type) -> dict[str, str]:
    return {entry.name: _meaning(group, entry.name) for entry in fields(group)}


def described(root: type) -> Iterable[tuple[str, str]]:
    """Each setting of a command with its comment, for the test that none is without."""
    for name in leaves(root):
        group, _, field_name = name.rpartition(".")
        owner: Any = root
        for part in filter(None, group.split(".")):
            owner = get_type_hints(owner)[part]
        entry = next(one for one in fields(owner) if one.name == field_name)
        rules: Rules = entry.metadata.get(KEY, Rules())
        yield name, comments(owner).get(field_name, "") + (rules.range.hint if rules.range else "")
