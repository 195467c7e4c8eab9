"""Progress is two lines in a log, a bar on a terminal, nothing when switched off, and never on stdout."""

import re

import pytest

from cdeval.reporting.progress import decoding_progress


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def test_a_log_gets_one_line_before_and_one_after(capsys: pytest.CaptureFixture[str]) -> None:
    with decoding_progress(96, "[red]early_exit k=26[/red] " + "x" * 100) as advance:
        for _ in range(3):
            advance(32)
    output = capsys.readouterr()
    assert output.out == ""
    first, last = output.err.splitlines()
    assert first == f"[red]early_exit k=26[/red] {'x' * 100}: decoding 96 tokens"
    assert re.search(r"x: 96 of 96 tokens in \d+\.\d s \(\d+ tokens/s\)$", last)


def test_a_stopped_run_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    def stop_early() -> None:
        with decoding_progress(96, "arm") as advance:
            advance(32)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_early()
    assert "arm: 32 of 96 tokens" in capsys.readouterr().err


def test_switched_off_it_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with decoding_progress(96, "arm", enabled=False) as advance:
        advance(96)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with decoding_progress(96, "[red]arm") as advance:
        advance(32)
        advance(64)
    output = capsys.readouterr()
    assert output.out == ""
    assert "[red]arm" in output.err
    assert "96/96 tokens" in output.err
