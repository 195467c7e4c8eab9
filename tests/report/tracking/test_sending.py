"""The process that sends: given up as soon as the server takes nothing in, never while it does."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdeval.report.tracking import sending
from cdeval.report.tracking.sending import Sending, SendingError
from tests.report.tracking.server import KEY


class Child:
    """Answers what it is given, one answer at each look."""

    def __init__(self, *_: object) -> None:
        self.answers: Iterator[dict[str, Any] | None] = iter(())
        self.over = self.killed = False
        self.orders: list[dict[str, Any]] = []
        self.environment: dict[str, str] = _[1]  # type: ignore[assignment]

    def tell(self, order: dict[str, Any]) -> None:
        self.orders.append(order)

    def answer(self, seconds: float) -> dict[str, Any] | None:
        found = next(self.answers, None)
        if found is None:
            time.sleep(min(seconds, 0.01))
        return found

    def kill(self) -> None:
        self.killed = True

    def end(self, _seconds: float) -> None:
        """By itself."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Sending, Child]]:
    monkeypatch.setattr(sending, "Child", Child)
    monkeypatch.setattr(sending, "STILL_SECONDS", 0.2)
    found = Sending()
    found.send([Path("mirror")], live=True)
    yield found, found._child  # type: ignore[misc]
    found.end(sent=False)


def test_what_is_done_is_waited_for(sent: tuple[Sending, Child]) -> None:
    it, child = sent
    moved = [{"ready": True}, *([None] * 10 + [{"moved": True, "number": 0}]) * 5]
    child.answers = iter([*moved, {"done": True, "number": 0, "problem": ""}])
    began = time.monotonic()
    it.wait()
    assert time.monotonic() - began > 0.3, "longer than a server may be still, because it moved"


def test_a_server_that_takes_nothing_in_is_given_up_with_what_it_says(sent: tuple[Sending, Child]) -> None:
    it, child = sent
    child.answers = iter(
        [{"ready": True}, {"number": 0, "waiting": False, "files": False, "trouble": "retrying HTTP 503"}]
    )
    with pytest.raises(SendingError, match=r"taken nothing in for 0\.2 s: retrying HTTP 503"):
        it.wait()


def test_time_that_was_spent_on_the_server_before_counts(sent: tuple[Sending, Child]) -> None:
    it, child = sent
    child.answers = iter([{"number": 0, "waiting": False}])
    began = time.monotonic()
    with pytest.raises(SendingError):
        it.wait(0.15)
    assert time.monotonic() - began < 0.15


def test_a_file_may_take_longer_while_the_server_answers(
    sent: tuple[Sending, Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    it, child = sent
    asked: list[float] = []
    monkeypatch.setattr(sending, "reach_server", asked.append)
    child.answers = iter(
        [{"ready": True}, {"number": 0, "files": True}, *[None] * 40, {"done": True, "number": 0, "problem": ""}]
    )
    it.wait()
    assert asked, "whether it answers is asked meanwhile"


def test_what_the_server_refuses_has_no_key_in_it(sent: tuple[Sending, Child], monkeypatch: pytest.MonkeyPatch) -> None:
    it, child = sent
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    child.answers = iter([{"done": True, "number": 0, "problem": f"bad key {KEY}"}])
    with pytest.raises(SendingError, match=r"bad key \*\*\*"):
        it.wait()


def test_a_process_that_has_ended_is_no_silence(sent: tuple[Sending, Child]) -> None:
    it, child = sent
    child.over = True
    with pytest.raises(SendingError, match="has ended"):
        it.check()


def test_while_texts_are_decoded_only_what_is_to_be_sent_counts(
    sent: tuple[Sending, Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    it, child = sent
    monkeypatch.setattr(sending, "STILL_DECODING", 0.0)
    child.answers = iter([{"number": 0, "ready": True, "waiting": True}])
    it.check()
    child.answers = iter([{"number": 0, "waiting": False}])
    with pytest.raises(SendingError):
        it.check()


def test_it_sees_the_users_key_and_none_of_the_users_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "BASE_URL", "RUN_ID", "SWEEP_ID", "MODE", "TAGS", "SERVICE"):
        monkeypatch.setenv(f"WANDB_{name}", "given")
    monkeypatch.setattr(sending, "Child", Child)
    it = Sending()
    given = {name for name, value in it._child.environment.items() if value == "given"}  # type: ignore[attr-defined]
    it.end(sent=False)
    assert given == {"WANDB_API_KEY", "WANDB_BASE_URL"}
