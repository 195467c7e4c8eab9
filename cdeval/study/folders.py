"""Run folders of several points, where other processes may work on the same study.

A process first takes the folders that it can get, and decodes those. Then, holding none, it takes all of them in one
order, waiting where another writes: whoever waits holds only folders that come before, so no two wait for each other.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cdeval.config.points import Point
from cdeval.errors import StorageError
from cdeval.store.folder import BusyError, RunFolder

_POLL = 0.2  # seconds between two looks at a folder that another process writes

Failed = Callable[[Point, Exception], None]


@contextmanager
def free_folders(points: Iterable[Point], root: Path, failed: Failed) -> Iterator[dict[Point, RunFolder]]:
    """The run folders that no other process writes, in the order of the points; told which are broken."""
    with ExitStack() as stack:
        found = {}
        for point in points:
            try:
                found[point] = stack.enter_context(RunFolder(root / point.folder))
            except BusyError:
                continue
            except StorageError as error:
                failed(point, error)
        yield found


@contextmanager
def all_folders(points: Iterable[Point], root: Path, failed: Failed) -> Iterator[dict[Point, RunFolder]]:
    """All run folders, in the order of the points, once no other process writes them; told which are broken."""
    points = list(points)
    with ExitStack() as stack:
        found: dict[Point, RunFolder] = {}
        for point in sorted(points, key=lambda point: point.folder):
            try:
                found[point] = stack.enter_context(_waited_for(root / point.folder))
            except StorageError as error:
                failed(point, error)
        yield {point: found[point] for point in points if point in found}


@contextmanager
def _waited_for(path: Path) -> Iterator[RunFolder]:
    with ExitStack() as stack:
        folder = None
        while folder is None:
            try:
                folder = stack.enter_context(RunFolder(path))
            except BusyError:
                time.sleep(_POLL)
        yield folder
