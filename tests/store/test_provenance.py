"""Provenance names the right commit, notices edits, and gives nobody away."""

import getpass
import json
import os
import platform
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from cdeval import __version__
from cdeval.store import provenance
from cdeval.store.provenance import _checkout
from cdeval.store.strict_json import to_page

IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")


def git(root: Path, *command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", "-C", str(root), *IDENTITY, *command], env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def repository(root: Path, name: str) -> str:
    """A checkout of a project with one package; returns its commit."""
    (root / "cdeval").mkdir(parents=True)
    (root / "cdeval" / "study.py").write_text("x = 1\n")
    (root / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "first")
    return git(root, "rev-parse", "HEAD")


def test_commit_of_a_clean_checkout(tmp_path: Path) -> None:
    commit = repository(tmp_path, "cdeval")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "notes.txt").write_text("does not shape a result")
    assert _checkout(tmp_path) == {"commit": commit, "dirty": False}


@pytest.mark.parametrize("file", ["study.py", "new_module.py"])
def test_an_edited_or_a_new_module_makes_it_dirty(tmp_path: Path, file: str) -> None:
    commit = repository(tmp_path, "cdeval")
    (tmp_path / "cdeval" / file).write_text("x = 2\n")
    assert _checkout(tmp_path) == {"commit": commit, "dirty": True}


def test_the_users_own_repository_is_not_taken_for_cdeval(tmp_path: Path) -> None:
    repository(tmp_path, "mine")
    packages = tmp_path / ".venv" / "site-packages"
    packages.mkdir(parents=True)
    unknown = {"commit": None, "dirty": None}
    assert _checkout(tmp_path) == unknown
    assert _checkout(packages) == unknown


def test_a_git_hooks_variables_do_not_mislead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = repository(tmp_path / "ours", "cdeval")
    repository(tmp_path / "theirs", "theirs")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "theirs" / ".git"))
    assert _checkout(tmp_path / "ours") == {"commit": commit, "dirty": False}


def test_no_git_program_and_a_broken_repository_are_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('name = "cdeval"\n')
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    assert _checkout(tmp_path)["commit"] is None
    monkeypatch.setenv("PATH", "")
    assert _checkout(tmp_path)["commit"] is None


def test_it_gives_nobody_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "planted-user"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_API_KEY", "planted-key")
    monkeypatch.setattr(sys, "argv", ["cdeval", "--token=planted-argument"])
    for module, name in ((socket, "gethostname"), (platform, "node"), (getpass, "getuser")):
        monkeypatch.setattr(module, name, lambda: "planted-name")
    facts = {"expert": {"name": f"{home}/models/gpt2", "note": f"from {home}"}, "also": [f"{home}s/other"]}
    record = json.loads(to_page(provenance.provenance(facts, "0123", [])))
    assert record["models"] == {
        "expert": {"name": "~/models/gpt2", "note": "from ~"},
        "also": [f"{home}s/other"],  # begins alike, is another folder
    }
    assert "planted" not in json.dumps(record | {"models": None}, allow_nan=False)


def test_it_tells_results_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "LIBRARIES", ("torch", "no-such-library"))
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        record = provenance.provenance({}, "0123", [])
    finally:
        torch.set_float32_matmul_precision(before)
    assert record["libraries"] == {
        "python": platform.python_version(),
        "torch": metadata.version("torch"),  # `torch.__version__` may add a build, as 2.13.0+cu130 does
        "no-such-library": None,
    }
    assert isinstance(record["numerics"], dict)
    assert record["numerics"]["float32_matmul_precision"] == "medium"
    assert record["numerics"]["threads"] == torch.get_num_threads()
    assert record["prompts_digest"] == "0123"
    assert isinstance(record["cdeval"], dict)
    assert record["cdeval"]["version"] == __version__


def test_it_imports_no_heavy_library() -> None:
    script = "import sys; from cdeval.store.provenance import provenance; provenance({}, '', []); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "numpy", "wandb"} & set(modules)
