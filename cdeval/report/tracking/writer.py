"""`python -m cdeval.report.tracking.writer` writes runs while their points are decoded, for W&B and for trackio.

A process of its own, because a library that follows a run for hours needs its own environment, without the user's
variables, and may print, fork and wait. It reads orders from its standard input, one line of JSON each, and answers
each with one: what it opened, wrote or closed, and what went wrong. Runs that nobody closed end as failed.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

from cdeval.config.enums import Tracker
from cdeval.report.tracking.child import answering, orders
from cdeval.report.tracking.confined import wandb_confined
from cdeval.report.tracking.given import Target
from cdeval.report.tracking.mirror import delete_logs, empty_mirror, fill_run, open_run
from cdeval.report.tracking.runs import Mirrored, from_message
from cdeval.report.tracking.sending import reason


class Runs(Protocol):
    """The open runs of one tracker, by their ids."""

    def open(self, target: Target, what: Mirrored) -> None:
        """Begin a run, in place of an earlier one of its id."""

    def log(self, name: str, numbers: Mapping[str, float]) -> None:
        """Add numbers to its history."""

    def fill(self, what: Mirrored) -> None:
        """Add what its point came to."""

    def close(self, name: str, code: int) -> None:
        """End it with an exit code."""

    def names(self) -> list[str]:
        """List the open ones."""

    def end(self) -> None:
        """End what the tracker has started."""


class WandbRuns:
    """Offline runs of W&B, each in its mirror."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Mirrored, Any]] = {}

    def open(self, target: Target, what: Mirrored) -> None:
        """As of `Runs`."""
        empty_mirror(what)
        with wandb_confined(what.mirror, again=True) as wandb:
            self._open[what.id] = what, open_run(wandb, target, what)

    def log(self, name: str, numbers: Mapping[str, float]) -> None:
        """As of `Runs`."""
        self._open[name][1].log(dict(numbers))

    def fill(self, what: Mirrored) -> None:
        """As of `Runs`."""
        with wandb_confined(what.mirror, again=True) as wandb:
            fill_run(wandb, self._open[what.id][1], what)

    def close(self, name: str, code: int) -> None:
        """As of `Runs`."""
        what, run = self._open.pop(name)
        with wandb_confined(what.mirror, again=True):
            run.finish(exit_code=code)
        delete_logs(what.mirror)

    def names(self) -> list[str]:
        """As of `Runs`."""
        return list(self._open)

    def end(self) -> None:
        """As of `Runs`."""
        import wandb  # noqa: PLC0415 - a second, and only the first order needs it

        wandb.teardown()


def main() -> None:
    """Obey until there are no more orders."""
    runs: Runs | None = None
    with answering() as tell:
        for order in orders():
            answer: dict[str, Any] = {"number": order["number"], "problem": ""}
            try:
                runs = runs or _runs(Tracker[order["tracker"]])
                _obey(runs, order)
            except Exception as error:  # whatever the libraries raise: the study goes on without this run
                answer["problem"] = reason(error)
            tell(answer)
        if runs is not None:
            for name in runs.names():
                runs.close(name, 1)
            runs.end()


def _runs(tracker: Tracker) -> Runs:
    if tracker is Tracker.wandb:
        return WandbRuns()
    runs: Runs = import_module("cdeval.report.tracking.trackio").TrackioRuns()  # an extra, which is not always there
    return runs


def _obey(runs: Runs, order: Mapping[str, Any]) -> None:
    match order["do"]:
        case "open":
            target = Target(Tracker[order["tracker"]], online=False, **order["target"])
            runs.open(target, from_message(order["run"]))
        case "log":
            runs.log(order["run"], order["numbers"])
        case "fill":
            what, code = from_message(order["run"]), 1
            try:
                runs.fill(what)
                code = 0
            finally:
                runs.close(what.id, code)
        case "close":
            runs.close(order["run"], order["code"])


if __name__ == "__main__":
    main()
    sys.exit(0)
