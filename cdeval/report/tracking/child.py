"""A process of its own that takes orders and answers, each a line of JSON; both its sides.

What a tracker's library does happens there: it may hang, print, change the environment or crash, and is ended when
nobody waits for it any more.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

import psutil


class Child:
    """The process, as the command sees it. Nothing here waits for it, but for `answer`."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        """Start `python -m module`.

        Args:
            module: to run.
            environment: all of its variables.

        Raises: OSError: no process can be started.
        """
        self._process = subprocess.Popen(  # noqa: S603 - a fixed command
            [sys.executable, "-m", module],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is the command's to hear
        )
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._orders: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        for task in (self._read, self._write):
            threading.Thread(target=task, daemon=True).start()

    def tell(self, order: Mapping[str, Any]) -> None:
        """Give an order; it waits in line, never whoever gives it."""
        self._orders.put(json.dumps(order).encode() + b"\n")

    def answer(self, seconds: float) -> dict[str, Any] | None:
        """Take the next answer. Returns: None: there is none within so many seconds, or will never be one."""
        try:
            found = self._answers.get(timeout=seconds) if seconds > 0 else self._answers.get_nowait()
        except queue.Empty:
            return None
        if found is None:
            self._answers.put(None)  # for whoever asks again
        return found

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def end(self, seconds: float) -> None:
        """Let it end by itself within so many seconds, or end it."""
        self._orders.put(None)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once, and what it has started."""
        with suppress(psutil.Error):
            for one in [*psutil.Process(self._process.pid).children(recursive=True), self._process]:
                with suppress(psutil.Error, OSError):
                    one.kill()
        self._orders.put(None)
        self._process.wait()

    def _read(self) -> None:
        with suppress(OSError, ValueError):
            for line in self._process.stdout or ():
                with suppress(ValueError):
                    self._answers.put(json.loads(line))
        self._answers.put(None)

    def _write(self) -> None:
        with suppress(OSError, ValueError), cast("BinaryIO", self._process.stdin) as pipe:
            while (line := self._orders.get()) is not None:
                pipe.write(line)
                pipe.flush()


def orders() -> Iterator[dict[str, Any]]:
    """Yield the orders as they come, in the process that obeys them."""
    for line in sys.stdin.buffer:
        yield json.loads(line)


@contextmanager
def answering() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Give what answers; everything else that the process prints goes nowhere."""
    lock = threading.Lock()
    with os.fdopen(os.dup(1), "wb") as answers:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)

        def tell(answer: Mapping[str, Any]) -> None:
            with lock, suppress(OSError):
                answers.write(json.dumps(answer).encode() + b"\n")
                answers.flush()

        yield tell
