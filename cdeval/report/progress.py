"""Progress of decoding, on stderr: moving bars for people, plain lines for logs."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import NamedTuple

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cdeval.store.escaping import printable
from cdeval.store.progress import Steps
from cdeval.store.screen import Screen

# Points that have a bar each; the points of a larger sweep share one.
BARS = 12


class Advance(NamedTuple):
    """The interface through which a decoder tells what is done."""

    tokens: Callable[[int], None]  # just decoded, of all texts; fewer than none where a batch starts again
    texts: Callable[[Mapping[str, int]], None]  # just stored, by point


@contextmanager
def decoding_progress(
    total_tokens: int, description: str, points: Mapping[str, int] = MappingProxyType({}), *, enabled: bool = True
) -> Iterator[Advance]:
    """Show how far decoding is.

    Args:
        total_tokens: tokens to be decoded here, all prompts together; what a resumed run has already does not count.
        description: what is decoded, as it is: never read as markup.
        points: the texts that each point of the study lacks, by its label.
        enabled: False shows nothing at all.
    """
    console = Screen(errors=True)
    if not enabled:
        yield Advance(lambda tokens: None, lambda stored: None)
    elif console.is_terminal and not os.environ.get("CI"):  # a log of continuous integration is read afterwards
        with Progress(*_columns(), console=console) as progress:
            bars = _Bars(progress, points)
            task = progress.add_task(printable(description), total=total_tokens, unit="tokens")
            yield Advance(lambda tokens: progress.advance(task, tokens), bars.stored)
    else:
        yield from _plain_lines(total_tokens, printable(description), console)


class _Bars:
    """A bar a point: prompts done, of those that it lacked."""

    def __init__(self, progress: Progress, points: Mapping[str, int]) -> None:
        self._progress, self._wanted = progress, points
        self._done = dict.fromkeys(points, 0)
        self._bars: dict[str, TaskID] = {}
        if 1 < len(points) <= BARS:
            for label in points:
                self._open(label)
        self._all = None if len(points) <= BARS else progress.add_task("points", total=len(points), unit="points")

    def stored(self, texts: Mapping[str, int]) -> None:
        for label, count in texts.items():
            self._done[label] = self._done.get(label, 0) + count
            if label in self._bars:
                self._progress.advance(self._bars[label], count)
            elif self._all is not None:
                self._progress.update(self._all, completed=self._complete())

    def _open(self, label: str) -> None:
        self._bars[label] = self._progress.add_task(printable(label), total=self._wanted[label], unit="texts")

    def _complete(self) -> float:
        """Points, those that are not complete by their share."""
        return sum(min(1.0, self._done[label] / max(1, wanted)) for label, wanted in self._wanted.items())


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}", markup=False),
        _Speed(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )


def _plain_lines(total_tokens: int, description: str, console: Screen) -> Iterator[Advance]:
    done = 0
    console.say(f"{description}: decoding {total_tokens} tokens")
    started = time.perf_counter()
    try:
        with Steps(console.say, f"{description}: token", total_tokens) as steps:

            def advance(tokens: int) -> None:
                nonlocal done
                done += tokens
                steps.advance(tokens)

            yield Advance(advance, lambda stored: None)
    finally:  # a run that was stopped says how far it came
        seconds = max(time.perf_counter() - started, 1e-9)
        text = f"{description}: {done} of {total_tokens} tokens in {seconds:.1f} s ({done / seconds:.0f} tokens/s)"
        console.say(text)


class _Speed(ProgressColumn):
    """Recent tokens a second; of texts and points their bars say enough."""

    def render(self, task: Task) -> Text:
        shown = task.fields["unit"] == "tokens" and task.speed
        return Text(f"{task.speed:.0f} tokens/s" if shown else "", style="progress.data.speed")
