"""`cdeval <command> …`: every command by one word; several values of a setting are a sweep."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cdeval.cli import run_command
from cdeval.config.commands import COMMANDS, main
from cdeval.config.schema import RunConfig

PACKAGE = Path(__file__).resolve().parents[2] / "cdeval"


def test_every_command_has_its_word_and_no_other_has_one() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__main__.py")}
    modules = {path.stem for path in PACKAGE.glob("[a-z]*.py") if '__name__ == "__main__"' in path.read_text("utf-8")}
    assert set(COMMANDS) == packages | modules


def test_commands_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"]):
        monkeypatch.setattr(sys, "argv", ["cdeval", *arguments])
        main()
        printed = capsys.readouterr().out
        assert all(f"  {name} " in printed for name in COMMANDS)


def test_a_mistyped_command_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["cdeval", "scor"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "cdeval has no command 'scor'. Did you mean 'score'?" in capsys.readouterr().err


def test_a_word_is_its_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["cdeval", "compare", "studies=[nowhere,nowhere]"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--multirun"], ["--multirun", "contrast.beta=1"], ["-m", "contrast.beta=1"]])
def test_several_values_are_a_sweep(more: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found: list[float] = []

    def keep(configs: Sequence[RunConfig]) -> list:
        found.extend(config.contrast.alpha for config in configs)
        return []

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cdeval.run", "contrast.alpha=0.1,0.2", *more])
    run_command(keep)
    assert found == [0.1, 0.2]
