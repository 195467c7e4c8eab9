"""Progress is two lines in a log, a bar on a terminal, nothing when switched off, and never on stdout."""

import re

import pytest

from cdeval.report.progress import decoding_progress


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def test_a_log_gets_one_line_before_and_one_after(capsys: pytest.CaptureFixture[str]) -> None:
    with decoding_progress(96, "[red]early_exit k=26[/red] " + "x" * 100, {"a": 3}) as advance:
        for _ in range(3):
            advance.tokens(32)
    output = capsys.readouterr()
    assert output.out == ""
    first, last = output.err.splitlines()
    assert first == f"[red]early_exit k=26[/red] {'x' * 100}: decoding 96 tokens"
    assert re.search(r"x: 96 of 96 tokens in \d+\.\d s \(\d+ tokens/s\)$", last)


def test_a_stopped_run_says_how_far_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    def stop_early() -> None:
        with decoding_progress(96, "arm", {"a": 3}) as advance:
            advance.tokens(32)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_early()
    assert "arm: 32 of 96 tokens" in capsys.readouterr().err


def test_switched_off_it_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with decoding_progress(96, "arm", {"a": 3}, enabled=False) as advance:
        advance.tokens(96)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with decoding_progress(96, "[red]arm", {"a": 3}) as advance:
        advance.tokens(32)
        advance.tokens(64)
    output = capsys.readouterr()
    assert output.out == ""
    assert "[red]arm" in output.err
    assert "96/96" in output.err


@pytest.mark.parametrize(("points", "bars"), [(2, ["point-0", "point-1"]), (40, ["points"])])
def test_a_sweep_has_a_bar_a_point_and_a_large_one_a_bar_for_all(
    points: int, bars: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    wanted = {f"point-{i}": 4 for i in range(points)}
    with decoding_progress(96, "all", wanted) as advance:
        advance.texts({"point-0": 4, "point-1": 1})
        advance.texts({"point-1": 3})
    lines = [line for line in capsys.readouterr().err.splitlines() if "/" in line]
    for bar in bars:
        assert any(bar in line for line in lines), bar
    done = "4/4" if points == 2 else "2/40"
    assert any(done in line for line in lines)
    assert any("point-39" in line for line in lines) is False


def test_a_terminal_in_continuous_integration_gets_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("CI", "true")
    with decoding_progress(96, "arm", {"a": 3}) as advance:
        advance.tokens(96)
    assert len(capsys.readouterr().err.splitlines()) == 2
