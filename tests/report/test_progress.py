"""Progress is two lines in a log, a bar on a terminal, nothing when switched off, and never on stdout."""

import re
from collections.abc import Callable

import pytest

from cdeval.report.progress import decoding_progress
from cdeval.store import progress
from cdeval.store.progress import Steps, announced
from cdeval.store.screen import Screen
from tests.report.test_screen import CONTROL, EXITS, compared, printed, results, row


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


# What a sweep of 36 exits says beside its counted work.
SAID = ["64 of 225 prompts from news", "expert: 30 blocks", "fitting the linear lens of layer 8, 16, 20, 24, 26, 28 …"]
SAID += ["timing 37 arms in turn, 3 passes each after a warm-up", "scoring"]
# The counted work after decoding, its steps, and the seconds that all of them take where decoding takes 20 minutes.
COUNTED = [("timing: pass", 148, 240), ("embedded text", 2432, 40), ("likelihood of text", 2432, 60)]
COUNTED += [("features of text", 2432, 60), ("compared arms by metric", 9, 30), ("drew picture", 14, 20)]


@pytest.mark.parametrize("minutes", [2, 20, 600])
def test_a_log_of_a_sweep_of_36_arms_is_short_in_whole(
    minutes: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All lines, those of progress, too, however long it decodes: forty minutes were eighty lines before the table."""
    now = 1000.0
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now)

    def pass_by(seconds: float, total: int, advance: Callable[[int], None]) -> None:
        nonlocal now
        done = 0
        for second in range(round(seconds)):
            now += 1
            advance(round(total * (second + 1) / seconds) - done)
            done = round(total * (second + 1) / seconds)
            Steps._open[-1].speak_up()  # as its watcher does

    screen = Screen(errors=True)
    with announced("run", []):
        screen.say("cdeval.run has begun: it reads settings and loads libraries first, which takes some seconds")
        with Steps(screen.say, "opening models and prompts"):
            pass_by(15, 0, lambda _count: None)
        for line in SAID:
            screen.say(line)
        with decoding_progress(311_296, "decoding 2432 continuations") as decoding:
            pass_by(60 * minutes, 311_296, decoding.tokens)
        for what, total, seconds in COUNTED:
            with Steps(screen.say, what, total) as steps:
                pass_by(seconds * minutes / 20, total, steps.advance)
    rows = [*map(row, EXITS), row(CONTROL, "control"), row("human", "human")]
    verdict = "The exit after block 26 (linear lens) under beam search is more diverse than the expert alone. " * 5
    table = printed(results(rows, comparisons=[compared(label) for label in EXITS], verdict=verdict))
    lines = [*capsys.readouterr().err.splitlines(), *table]
    assert len(lines) < 80, "\n".join(lines[: -len(table)])
    assert lines[-1] == "to look at: r.html"
    assert sum("decoding 2432 continuations: token" in line for line in lines) >= 3, "and yet it says how far it is"
