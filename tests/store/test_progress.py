"""Long work says how far it is, also while nothing ends; short work says nothing; a command says that it has begun."""

import threading
import time
from collections.abc import Callable

import pytest

from cdeval.store import progress
from cdeval.store.progress import Steps, announced


def counted(total: int, *, timed: bool = True) -> list[str]:
    lines: list[str] = []
    steps = Steps(lines.append, "position", total, timed=timed)
    for _ in range(total):
        steps.advance()
    return lines


def test_each_tenth_is_said_once_with_what_is_left(seconds: Callable[[float], None]) -> None:
    seconds(3.0)
    lines = counted(40)
    assert lines[0] == "position 4 of 40; 108 s left"
    assert lines[-1] == "position 40 of 40; 0 s left"
    assert len(lines) == 10


def test_steps_that_take_unequally_long_promise_nothing(seconds: Callable[[float], None]) -> None:
    seconds(3.0)
    assert counted(10, timed=False)[0] == "position 1 of 10; 3 s so far"


def test_what_is_over_at_once_says_nothing(seconds: Callable[[float], None]) -> None:
    seconds(0.001)
    assert counted(40) == []


def heard(lines: list[str], number: int) -> None:
    """Wait for so many lines."""
    for _ in range(500):
        if len(lines) >= number:
            return
        time.sleep(0.01)
    raise AssertionError(lines)


def test_a_step_that_takes_long_speaks_up_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a log that stands still for minutes, as while one batch of beams was decoded."""
    monkeypatch.setattr(progress, "SHORT", 0.02)
    monkeypatch.setattr(progress, "SILENCE", 0.04)
    lines: list[str] = []
    with Steps(lines.append, "opening the models"), Steps(lines.append, "read text", 8) as inner:
        heard(lines, 2)
        inner.advance(2)
        heard(lines, 4)
    assert not any("opening" in line for line in lines), "the work that is being done speaks, not the one around it"
    assert lines[0].startswith("read text 0 of 8; ")
    assert lines[0].endswith("so far")
    assert lines[-1].startswith("read text 2 of 8; ")
    assert lines[-1].endswith("left")
    assert threading.active_count() < 20, "its thread ends with it"


def test_a_failure_ends_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SHORT", 0.01)
    lines: list[str] = []

    def fails() -> None:
        with Steps(lines.append, "position", 8):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - its own
        fails()
    assert Steps._open == []


def test_a_command_says_that_it_has_begun(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """torch takes seconds to import, and the screen stood empty for as long."""
    monkeypatch.setattr(progress, "_SOON", 0.01)
    with announced("run", ["study=a"]):
        time.sleep(0.2)
    assert capsys.readouterr().err.startswith("cdeval.run has begun")


@pytest.mark.parametrize(("arguments", "takes"), [(["--help"], 0.2), (["tracking.quiet=true"], 0.2), (["x=1"], 0.0)])
def test_who_is_quiet_asked_or_over_at_once_does_not(
    arguments: list[str], takes: float, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_SOON", 0.05)
    with announced("run", arguments):
        time.sleep(takes)
    time.sleep(0.1)
    assert capsys.readouterr().err == ""
