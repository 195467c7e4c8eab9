"""The main job needs no extra of pyproject.toml; what needs one says which, before anything is read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cdeval.errors import ConfigError
from cdeval.prompts.texts import ccnews, wikitext103
from tests.commands import on
from tests.test_imports import OPTIONAL


def without_extras(folder: Path) -> str:
    """A folder that leads to every installed package but those that only extras bring, as PYTHONPATH has it."""
    names = {*OPTIONAL, "mauve_text"}
    versions = tuple(f"{name}-" for name in names)  # as datasets-5.2.0.dist-info
    for installed in map(Path, dict.fromkeys(path for path in sys.path if path.endswith("-packages"))):
        for entry in installed.iterdir():
            link = folder / entry.name
            if entry.name not in names and not entry.name.startswith(versions) and not link.exists():
                link.symlink_to(entry)
    return os.pathsep.join([str(Path(__file__).resolve().parents[2]), str(folder)])


@pytest.mark.long
def test_a_study_runs_where_no_extra_is_installed(tiny_gpt2_folder: Path, prompts_file: Path, tmp_path: Path) -> None:
    """A process that finds none of them; MAUVE is scored without its authors' code."""
    (tmp_path / "packages").mkdir()
    environment = {**os.environ, "PYTHONPATH": without_extras(tmp_path / "packages")}
    command = [
        sys.executable,
        "-S",
        "-m",
        "cdeval.run",
        *on(tiny_gpt2_folder, prompts_file, "study=plain", "metrics.only=[]"),
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "runs" / "plain").iterdir()}
    assert {"report.html", "results.csv", "results.tex"} <= names
    assert "results.parquet" not in names
    assert "pip install" not in done.stdout + done.stderr


@pytest.mark.parametrize("source", [wikitext103, ccnews])
def test_a_source_of_the_hub_names_its_extra(source: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"prompts=\w+ .*needs datasets.*pip install 'cdeval\[datasets\]'"):
        source()  # type: ignore[operator]
