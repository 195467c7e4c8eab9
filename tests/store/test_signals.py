"""Signals: once to finish, twice to stop, and nothing left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from cdeval.cli import Schema, run_command, run_schema
from cdeval.report.config import ReportRun, validate_report
from cdeval.store.signals import Stopped, finishing, terminable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_kept_and_the_second_raises(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    def twice() -> None:
        with finishing() as stop:
            assert stop.number is None
            signal.raise_signal(number)
            assert stop.number == number
            with pytest.raises(Stopped) as second:
                signal.raise_signal(number)
            assert second.value.number == number

    with pytest.raises(Stopped) as first:
        twice()
    assert first.value.number == number
    assert signal.getsignal(number) is before


def test_a_command_hears_sigterm_as_it_hears_ctrl_c() -> None:
    with terminable(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_first_second_ends_a_command_like_any_other(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """While modules are imported there is nothing to save, and a traceback would say nothing."""
    # A module that takes its time stands in for the libraries, so that the signal falls into an import.
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(20)\n")
    started = subprocess.Popen(
        [sys.executable, "-m", "cdeval.run"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "importing\n"
    started.send_signal(number)
    _, said = started.communicate(timeout=60)
    assert (started.returncode, said) == (code, "stopped; nothing was begun\n")


def test_importing_cdeval_leaves_the_signals_alone() -> None:
    told = "import signal, cdeval; print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("run", "stopped; every finished batch is on disk, the same command continues after it\n"),
        ("report", "stopped; nothing is kept of what was not finished, the same command begins anew\n"),
    ],
)
def test_only_a_command_that_stores_batches_says_so(
    command: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills: cdeval.lens, stopped after an hour of training, which promised what it had not stored."""

    def stopped(_given: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", [f"cdeval.{command}", *(["study=runs/x"] if command == "report" else [])])
    schema = Schema(ReportRun, validate_report)
    with pytest.raises(SystemExit) as code:
        run_command(stopped) if command == "run" else run_schema(stopped, schema, command)
    assert code.value.code == 130
    assert capsys.readouterr().err == said
