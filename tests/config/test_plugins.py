"""Modules of users: named by their files, offered by installed packages, recorded, and missed where they are gone."""

import importlib
import json
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

import pytest

from cdeval.config import plugins
from cdeval.config.amateur import AMATEURS
from cdeval.config.paths import CONF
from cdeval.config.plausibility import RULES
from cdeval.errors import ConfigError
from cdeval.store.strict_json import to_page
from tests.plugged import MINE

EMPTY = """
from cdeval import plausibility


@plausibility("{name}")
def rule(log_expert):
    return log_expert > -1
"""


@pytest.fixture(autouse=True)
def _only_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(plugins, "_LOADED", {})
    monkeypatch.setattr(plugins, "_OFFERED", [])
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {(registry, method.name) for registry in (AMATEURS, RULES) for method in registry.plugged()}
    yield
    for registry in (AMATEURS, RULES):
        for method in registry.plugged():
            if (registry, method.name) not in before:
                registry.forget(method.name)


def offered(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, source: str) -> None:
    """Offer a module under the entry point of amateurs."""
    (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    entry = EntryPoint(name="mine", value=name, group="cdeval.amateurs")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == entry.group else [])


def test_an_installed_packages_methods_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, tmp_path, "installed_methods", MINE)
    plugins.load_plugins([])
    assert AMATEURS["blurred"].origin is not None
    assert RULES["near_best"].origin is not None


def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, tmp_path, "installed_broken", "import torch\nraise OSError('no device')\n")
    with pytest.raises(ConfigError, match=r"plug-in mine \(cdeval.amateurs\).*installed_broken.py:2.*no device"):
        plugins.load_plugins([])


def test_files_of_one_name_are_two_modules_and_find_what_lies_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"beside_{folder}.py").write_text(f"NAME = '{folder}'\n")
        source = f"from beside_{folder} import NAME\nassert NAME == '{folder}'\n{EMPTY.format(name=folder)}"
        (tmp_path / folder / "rule.py").write_text(source)
    plugins.load_plugins(["one/rule.py", str(tmp_path / "two" / "rule.py")])
    plugins.load_plugins(["one/../one/rule.py"])  # once more: it is there already
    assert RULES["one"].origin != RULES["two"].origin
    assert [one.offers for one in plugins.loaded_plugins()] == [
        ("contrast.plausibility=one",),
        ("contrast.plausibility=two",),
    ]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("my/rule.py", r"plugins=\[my/rule.py\]: there is no file /.*/my/rule.py"),
        ("my/rule.txt", "expected a file that ends with .py, or a module's dotted name"),
        ("broken.py", r"plugins=\[broken.py\] cannot be imported \(.*/broken.py:1\): SyntaxError"),
        ("gone.py", r"cannot be imported \(.*/gone.py:1\): ModuleNotFoundError: No module named 'no_such_module'"),
        ("no_such_module", "there is no module no_such_module. Give the path of a file, as"),
    ],
)
def test_what_cannot_be_loaded_is_one_message(
    named: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("def\n")
    (tmp_path / "gone.py").write_text("import no_such_module\n")
    with pytest.raises(ConfigError, match=message):
        plugins.load_plugins([named])
    assert plugins.loaded_plugins() == []


def test_the_record_says_what_somebody_has_to_type_who_lacks_the_plug_ins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "rule.py").write_text(f"__version__ = '3'\n{EMPTY.format(name='mine')}")
    offered(monkeypatch, tmp_path, "installed_rule", EMPTY.format(name="theirs"))
    distribution = tmp_path / "theirs-1.2.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: their-rules\nVersion: 1.2\n")
    entry = EntryPoint(name="theirs", value="installed_rule", group="cdeval.amateurs")
    object.__setattr__(entry, "dist", Distribution.at(distribution))
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == entry.group else [])
    plugins.load_plugins(["~/rule.py"])
    record = json.loads(to_page(plugins.loaded_plugins()))
    assert [(one["name"], one["file"], one["version"], one["package"]) for one in record] == [
        ("~/rule.py", "~/rule.py", "3", None),
        ("installed_rule", "~/installed_rule.py", "1.2", "their-rules"),
    ]
    assert len({one["sha256"] for one in record}) == 2
    methods = ["contrast.plausibility=mine", "contrast.plausibility=theirs", "contrast.plausibility=alpha"]
    assert plugins.lacking(record, methods) is None
    monkeypatch.setattr(plugins, "_LOADED", {})
    monkeypatch.setattr(plugins, "_OFFERED", [])
    found = plugins.lacking(record, methods)
    assert found is not None
    assert found.methods == ("contrast.plausibility=mine", "contrast.plausibility=theirs")
    assert found.remedy == "install their-rules 1.2 and add plugins=[~/rule.py]"
    plugins.offer("contrast.plausibility=mine")
    found = plugins.lacking(record, methods)
    assert found is not None
    assert found.remedy == "install their-rules 1.2"


ROOTS = {
    "bench": "bench.config:BenchRun",
    "calibrate": "calibrate.config:CalibrateRun",
    "compare": "compare:CompareRun",
    "dashboard": "dashboard:DashboardRun",
    "export": "export.config:ExportRun",
    "judge": "judge.config:JudgeRun",
    "lens": "lens.config:LensRun",
    "merge": "merge:MergeConfig",
    "price": "price.config:PriceRun",
    "report": "report.config:ReportRun",
    "run": "config.schema:RunConfig",
    "score": "score.config:ScoreConfig",
    "trace": "trace.config:TraceRun",
    "tasks": "tasks.config:TasksRun",
    "tune": "tune.config:TuneRun",
}


@pytest.mark.parametrize("command", sorted(path.stem for path in CONF.glob("*.yaml")))
def test_every_command_takes_plug_ins(command: str) -> None:
    module, name = ROOTS[command].split(":")
    root = getattr(importlib.import_module(f"cdeval.{module}"), name)
    assert issubclass(root, plugins.TakesPlugins)
