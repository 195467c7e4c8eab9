"""Modules that installed packages offer as entry points."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from cdeval.config import plugins
from cdeval.config.amateur import AMATEURS
from cdeval.config.plausibility import RULES
from cdeval.errors import ConfigError
from tests.plugged import MINE


def offered(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, source: str) -> None:
    """Offer a module under the entry point of amateurs."""
    (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    entry = EntryPoint(name="mine", value=name, group="cdeval.amateurs")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == entry.group else [])


def test_an_installed_packages_methods_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, tmp_path, "installed_methods", MINE)
    try:
        plugins.load_plugins([])
        assert AMATEURS["blurred"].origin is not None
        assert RULES["near_best"].origin is not None
    finally:
        for registry in (AMATEURS, RULES):
            for method in registry.plugged():
                registry.forget(method.name)


def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered(monkeypatch, tmp_path, "installed_broken", "import torch\nraise OSError('no device')\n")
    with pytest.raises(ConfigError, match=r"plug-in mine \(cdeval.amateurs\).*installed_broken.py:2.*no device"):
        plugins.load_plugins([])
