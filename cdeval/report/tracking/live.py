"""Runs that appear on their tracker while their points are decoded: how far they are, how fast, and how long it takes.

The runs are written into their mirrors by one process (`writer`) and sent from there by another (`sending`). Decoding
waits for neither. The first failure ends what fails: one line says so, the study goes on, and at its end all is
mirrored as it would have been without.
"""

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from cdeval.config.enums import Tracker
from cdeval.report.tracking.child import Child
from cdeval.report.tracking.given import Target
from cdeval.report.tracking.runs import Mirrored, to_message
from cdeval.report.tracking.sending import Sending, SendingError, reason

_APART = 10.0  # seconds between two rows of history, and at least a part of the time that the study has taken
_PART = 1 / 200
_FILL_SECONDS = 60.0  # for the runs to be complete on disk, before the process that writes them is given up
_END_SECONDS = 3.0
# Where a library would find an account, a server or a habit of the user's.
_FOREIGN = ("WANDB_", "TRACKIO_", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "GRADIO_")


class Progress(NamedTuple):
    """How far decoding is, for one run; each number becomes one of its history."""

    share: float  # of its texts that are decoded
    texts: int  # of it
    units: int  # that this command has decoded, each of texts of several points
    tokens_per_second: float  # of this command
    seconds_left: float  # of this command's decoding, if it goes on like that


class Live:
    """The runs of a study while it is decoded. Nothing here raises, and nothing waits for a server."""

    def __init__(self, target: Target, root: Path, say: Callable[[str], None]) -> None:
        """Start the processes for the study in `root`; `say` takes one line where something fails."""
        self._target, self._say = target, say
        self._writer: Child | None = None
        self._sending: Sending | None = None
        self._waited: dict[int, str] = {}  # orders of the writer that are not answered, with the ids of their runs
        self._asked: dict[str, Mirrored] = {}  # runs that are to be begun, by id
        self._failed: set[str] = set()  # of them
        self._unsent: set[str] = set()  # of them, until they are on their way
        self._number = 0
        self._complete = False  # no run is open
        self._counts = _Counts({}, 0)
        try:
            self._writer = Child("cdeval.report.tracking.writer", _environment(root))
            self._sending = Sending() if target.online else None
        except OSError as error:
            self._give_up(error)

    def begin(self, runs: Sequence[Mirrored], wanted: Mapping[str, tuple[int, int]], tokens: int) -> None:
        """Begin runs, as far as they have not begun, and count from here.

        Args:
            runs: what is known of them; those that are in `wanted` show their own share, the others that of all.
            wanted: by a point's label, the texts that are stored and those that it will have.
            tokens: that are to be decoded.
        """
        new = [run for run in runs if run.id not in self._asked]
        self._counts = _Counts(wanted, tokens)
        for run in new:
            self._asked[run.id] = run
            self._unsent.add(run.id)
            self._order("open", run.id, run=to_message(run), target=_place(self._target))
        self._log()

    def tokens(self, count: int) -> None:
        """Count tokens that are just decoded."""
        self._counts.tokens += count
        self._tick()

    def texts(self, stored: Mapping[str, int]) -> None:
        """Count the texts of a unit that are just stored, by label."""
        self._counts.add(stored)
        self._tick()

    def fill(self, runs: Iterable[Mirrored]) -> list[Mirrored]:
        """Write what points came to into the runs that have begun, and end the others as failed.

        Returns: the runs that are complete on disk.
        """
        mine = [run for run in runs if run.id in self._asked and run.id not in self._failed]
        self._log()
        for run in mine:
            self._order("fill", run.id, run=to_message(run))
        for name in self._asked.keys() - {run.id for run in mine}:
            self._order("close", name, code=1)
        self._await(set(self._asked), _FILL_SECONDS)
        if self._writer is None:
            return []
        self._complete = True
        if self._failed:  # their mirrors are written anew, beneath whoever sends them
            self._stop_sending(None)
        self._send_begun()
        return [run for run in mine if run.id not in self._failed]

    def take_sending(self) -> Sending | None:
        """Hand over what sends the runs, if nothing has failed: whoever takes it ends it."""
        taken, self._sending = self._sending, None
        return taken

    def end(self) -> None:
        """End the processes; runs that are still open end as failed."""
        if self._writer is not None:
            if self._complete:
                self._writer.kill()
            else:
                self._writer.end(_END_SECONDS)
            self._writer = None
        if self._sending is not None:
            with suppress(SendingError):
                self._sending.wait()
            self._sending.end(sent=False)
            self._sending = None

    def _tick(self) -> None:
        """Add a row of history where one is due, and look whether the server still takes them."""
        if self._unsent:
            self._collect(0)
            self._send_begun()
        if self._sending is not None:
            try:
                self._sending.check()
            except SendingError as error:
                self._stop_sending(error)
        if self._counts.is_due(time.monotonic()):
            self._log()
            self._collect(0)

    def _send_begun(self) -> None:
        """Send the runs that have begun on disk, once all have that were asked for."""
        if self._sending is not None and not self._unsent & set(self._waited.values()):
            begun = [self._asked[name].mirror for name in self._asked if name in self._unsent - self._failed]
            self._unsent.clear()
            if begun:
                self._sending.send(begun, live=True)

    def _log(self) -> None:
        now = time.monotonic()
        self._counts.said = now
        for name, run in self._asked.items():
            if name in self._failed:
                continue
            found = self._counts.progress(run.label if run.kind == "point" else None, now)
            if found:
                self._order("log", name, numbers={f"progress/{key}": value for key, value in found.items()})

    def _order(self, do: str, name: str, **more: Any) -> None:
        if self._writer is None:
            return
        self._waited[self._number] = name
        order = {"number": self._number, "do": do, "tracker": self._target.kind.name}
        self._writer.tell({**order, **more, **({"run": name} if do in ("log", "close") else {})})
        self._number += 1

    def _await(self, names: set[str], seconds: float) -> None:
        """Wait until the writer has answered all orders about some runs; a second for each, at least `seconds`."""
        until = time.monotonic() + max(seconds, len(names))
        while self._writer is not None and names & set(self._waited.values()):
            if not self._collect(0.1) and (time.monotonic() > until or self._writer.over):
                self._give_up(TimeoutError("the process that writes the runs does not answer"))

    def _collect(self, seconds: float) -> bool:
        """Take in the writer's answers. Returns: whether there was one."""
        some = False
        while self._writer is not None and (found := self._writer.answer(0 if some else seconds)) is not None:
            some = True
            name = self._waited.pop(found["number"], "")
            if found["problem"] and name not in self._failed:
                self._failed.add(name)
                self._say(f"{self._lacks} {self._asked[name].name} ({found['problem']})")
        return some

    def _give_up(self, error: Exception) -> None:
        """The runs are not written: at the end of the study they are mirrored as if nothing had been shown."""
        self._say(f"{self._lacks} this study ({reason(error)}); its results are not touched by that")
        if self._writer is not None:
            self._writer.kill()
            self._writer = None
        self._waited.clear()
        self._stop_sending(None)

    def _stop_sending(self, error: Exception | None) -> None:
        if error is not None:
            self._say(f"{self._lacks} this study ({reason(error)}); it goes on, and is mirrored at its end")
        if self._sending is not None:
            self._sending.end(sent=False)
            self._sending = None

    @property
    def _lacks(self) -> str:
        return "W&B does not show meanwhile" if self._target.kind is Tracker.wandb else "trackio has no copy of"


class _Counts:
    """What is decoded and what is to be."""

    def __init__(self, wanted: Mapping[str, tuple[int, int]], tokens: int) -> None:
        self._wanted = wanted
        self._done = {label: stored for label, (stored, _) in wanted.items()}
        self._total, self.tokens, self._units = tokens, 0, 0
        self._began = self.said = time.monotonic()

    def add(self, stored: Mapping[str, int]) -> None:
        """Count a unit."""
        self._units += 1
        for label, count in stored.items():
            self._done[label] = self._done.get(label, 0) + count

    def is_due(self, now: float) -> bool:
        """Whether it is time for a row of history."""
        return now - self.said >= max(_APART, _PART * (now - self._began))

    def progress(self, label: str | None, now: float) -> dict[str, float]:
        """Tell how far a point is, or with None how far all are; of what decodes nothing there is nothing to tell."""
        if label is not None and label not in self._wanted:
            return {}
        wanted = [self._wanted[label]] if label is not None else list(self._wanted.values())
        texts = self._done[label] if label is not None else sum(self._done[name] for name in self._wanted)
        speed = self.tokens / max(now - self._began, 1e-9)
        found = Progress(
            share=texts / max(1, sum(total for _, total in wanted)),
            texts=texts,
            units=self._units,
            tokens_per_second=speed,
            seconds_left=max(0, self._total - self.tokens) / speed if speed > 0 else float("nan"),
        )
        return {name: value for name, value in found._asdict().items() if math.isfinite(value)}


def _place(target: Target) -> dict[str, str | None]:
    return {"project": target.project, "entity": target.entity}


def _environment(root: Path) -> dict[str, str]:
    """The variables of the process that writes: none that names an account, a server or a key."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    ours = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_TOKEN_PATH": os.devnull}
    return {**given, **ours, "TRACKIO_DIR": os.environ.get("TRACKIO_DIR") or str((root / "trackio").resolve())}
