"""How far decoding is: a moving bar for people, two plain lines for logs. All of it goes to stderr."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from cdeval.reporting.table import printable


@contextmanager
def decoding_progress(total_tokens: int, description: str, enabled: bool = True) -> Iterator[Callable[[int], None]]:
    """Show how far decoding is; the context is a function to be called with the number of tokens just decoded.

    Args:
        total_tokens: tokens to be decoded here, all prompts together; what a resumed run has already does not count.
        description: what is decoded, as it is: never read as markup.
        enabled: False shows nothing at all.
    """
    console = Console(stderr=True, highlight=False)
    if not enabled:
        yield lambda tokens: None
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} tokens"),
            _Speed(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(printable(description), total=total_tokens)
            yield lambda tokens: progress.advance(task, tokens)
    else:
        yield from _plain_lines(total_tokens, printable(description), console)


def _plain_lines(total_tokens: int, description: str, console: Console) -> Iterator[Callable[[int], None]]:
    done = 0

    def advance(tokens: int) -> None:
        nonlocal done
        done += tokens

    console.print(f"{description}: decoding {total_tokens} tokens", markup=False, soft_wrap=True)
    started = time.perf_counter()
    try:
        yield advance
    finally:  # a run that was stopped says how far it came
        seconds = max(time.perf_counter() - started, 1e-9)
        text = f"{description}: {done} of {total_tokens} tokens in {seconds:.1f} s ({done / seconds:.0f} tokens/s)"
        console.print(text, markup=False, soft_wrap=True)


class _Speed(ProgressColumn):
    """Recent tokens a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f} tokens/s" if task.speed else "", style="progress.data.speed")
