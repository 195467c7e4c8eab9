"""Runs that are shown while they are decoded: their history, and the first failure, which ends what fails alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cdeval.config.enums import Tracker
from cdeval.report.tracking import live
from cdeval.report.tracking.given import Target
from cdeval.report.tracking.live import Live
from cdeval.report.tracking.runs import Mirrored
from cdeval.report.tracking.sending import SendingError
from cdeval.report.tracking.track import point_run

TARGET = Target(Tracker.wandb, online=True, project="p")


class Writer:
    """Obeys every order at once."""

    def __init__(self, *_: object) -> None:
        self.orders: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.problem: Callable[[Mapping[str, Any]], str] = lambda order: ""
        self.over = self.killed = self.ended = False

    def tell(self, order: dict[str, Any]) -> None:
        self.orders.append(order)
        if not self.over:
            self.answers.append({"number": order["number"], "problem": self.problem(order)})

    def answer(self, _seconds: float) -> dict[str, Any] | None:
        return self.answers.pop(0) if self.answers else None

    def kill(self) -> None:
        self.killed = True

    def end(self, _seconds: float) -> None:
        self.ended = True

    def did(self, what: str) -> list[str]:
        found = [order["run"] for order in self.orders if order["do"] == what]
        return [run if isinstance(run, str) else run["label"] for run in found]


class Sender:
    """Takes everything, until it is told to fail."""

    def __init__(self) -> None:
        self.sent: list[tuple[list[Path], bool]] = []
        self.failure: SendingError | None = None
        self.ended: list[bool] = []

    def send(self, mirrors: list[Path], *, live: bool) -> None:
        self.sent.append((mirrors, live))

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def wait(self, _spent: float = 0.0) -> None:
        self.check()

    def end(self, *, sent: bool) -> None:
        self.ended.append(sent)


class Shown:
    """A study of two points that is being decoded, and the clock."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(live.time, "monotonic", lambda: self.now)
        self.writer, self.sender, self.said = Writer(), Sender(), []
        monkeypatch.setattr(live, "Child", lambda *_: self.writer)
        monkeypatch.setattr(live, "Sending", lambda: self.sender)
        self.root = root
        self.runs = [self.run("a"), self.run("b")]
        self.live = Live(TARGET, root, self.said.append)

    def run(self, label: str, summary: Mapping[str, float] | None = None) -> Mirrored:
        return point_run("s", label, self.root / label, config={"seed": 0}, summary=summary, digest=label)

    def begin(self) -> None:
        study = Mirrored("s", "s", "study", self.root, {}, {}, {})
        self.live.begin([study, *self.runs], {"a": (0, 4), "b": (2, 4)}, tokens=80)


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    return Shown(tmp_path, monkeypatch)


def test_history_tells_share_speed_time_left_and_finished_units(shown: Shown) -> None:
    shown.begin()
    shown.live.tokens(20)
    shown.live.texts({"a": 1, "b": 1})
    shown.now += 10
    shown.live.tokens(20)
    last = {order["run"]: order["numbers"] for order in shown.writer.orders if order["do"] == "log"}
    a, b = (last[run.id] for run in shown.runs)
    assert (a["progress/share"], b["progress/share"]) == (0.25, 0.75)
    (study,) = (numbers for name, numbers in last.items() if name not in {run.id for run in shown.runs})
    assert study == {
        "progress/share": 0.5,
        "progress/texts": 4,
        "progress/units": 1,
        "progress/tokens_per_second": 4.0,
        "progress/seconds_left": 10.0,
    }


def test_rows_stand_further_apart_in_a_study_of_hours(shown: Shown) -> None:
    shown.begin()
    for _ in range(100):
        shown.now += 9
        shown.live.tokens(1)
    soon = len(shown.writer.did("log"))
    shown.now += 36_000
    shown.live.tokens(1)
    for _ in range(100):
        shown.now += 9
        shown.live.tokens(1)
    assert len(shown.writer.did("log")) - soon < soon / 4


def test_runs_are_sent_once_they_are_on_disk_and_filled_at_the_end(shown: Shown) -> None:
    shown.begin()
    assert shown.sender.sent == []
    shown.live.tokens(1)
    assert shown.sender.sent == [([shown.root / name / "wandb" for name in (".", "a", "b")], True)]
    done = shown.live.fill([shown.run("a", {"mauve": 0.9})])
    assert [run.label for run in done] == ["a"]
    assert shown.writer.did("fill") == ["a"]
    assert len(shown.writer.did("close")) == 2, "what is not finished ends as failed"
    assert shown.live.take_sending() is shown.sender
    shown.live.end()
    assert (shown.writer.killed, shown.sender.ended, shown.said) == (True, [], [])


def test_the_first_failure_of_the_server_ends_the_sending_with_one_line(shown: Shown) -> None:
    shown.begin()
    shown.live.tokens(1)
    shown.sender.failure = SendingError("no network")
    for _ in range(5):
        shown.now += 20
        shown.live.tokens(1)
    (line,) = shown.said
    assert "no network" in line
    assert shown.sender.ended == [False]
    assert shown.live.take_sending() is None
    assert len(shown.live.fill([shown.run("a"), shown.run("b")])) == 2, "the mirrors are complete all the same"


def test_a_writer_that_dies_costs_one_line_and_the_study_is_mirrored_anew(shown: Shown) -> None:
    shown.writer.over = True
    shown.begin()
    shown.live.tokens(1)
    assert shown.live.fill([shown.run("a")]) == []
    (line,) = shown.said
    assert "does not answer" in line
    assert shown.writer.killed
    assert shown.sender.ended == [False]
    shown.live.tokens(1)
    assert len(shown.said) == 1


def test_a_run_that_cannot_be_written_is_named_and_the_others_go_on(shown: Shown) -> None:
    shown.writer.problem = lambda order: "disk full" if order["do"] == "open" and order["run"]["label"] == "a" else ""
    shown.begin()
    shown.live.tokens(1)
    assert shown.sender.sent == [([shown.root / "wandb", shown.root / "b" / "wandb"], True)]
    assert [run.label for run in shown.live.fill([shown.run("a"), shown.run("b")])] == ["b"]
    assert [line for line in shown.said if "a (disk full)" in line] == shown.said
    assert shown.live.take_sending() is None, "the mirror of a is written anew, beneath whoever sends it"


def test_what_is_interrupted_ends_as_failed(shown: Shown) -> None:
    shown.begin()
    shown.live.end()
    assert (shown.writer.ended, shown.writer.killed, shown.sender.ended) == (True, False, [False])
