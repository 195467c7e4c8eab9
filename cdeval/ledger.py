"""The ledger `runs/<study>/study.json`: every point of a study, how far it is, and what was planned together.

It is an overview, not the truth: texts lie in the run folders, and a point is done where its folder is complete. So a
ledger that is lost or broken is made again from the folders, and what a killed process left behind as running reads as
planned. The file is replaced as a whole, by one process at a time, under a lock on `.study.lock` that is held for
milliseconds.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from cdeval.locks import is_locked, short_lock
from cdeval.store import GENERATIONS, SUMMARY, explained, replace_file
from cdeval.strictjson import to_page

STUDY = "study.json"
LOCK = ".study.lock"

T = TypeVar("T")


class State(Enum):
    """How far a point is."""

    planned = "planned"  # also: begun and interrupted
    running = "running"  # a process holds its run folder
    done = "done"  # all texts stored and scored
    failed = "failed"


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for together, and so shares units of work (`cdeval.units`)."""

    points: tuple[str, ...]  # digests, in the order of the study
    lanes: Mapping[int, int]  # most in one forward pass, by the beams of a lane
    compact_every: int  # steps; 0 never compacts
    fits: Mapping[int, int] = field(default_factory=dict)  # as lanes, where memory ran out and units were halved

    @property
    def digest(self) -> str:
        """Names it in the ledger."""
        return digest_of([self.points, sorted(self.lanes.items()), self.compact_every])[:16]


@dataclass(frozen=True, slots=True)
class Entry:
    """One point, or a setting that could not become one."""

    digest: str  # the point's; of a setting whose models cannot be opened: of what was asked
    label: str
    role: str
    folder: str | None  # its run folder's name; None for a setting that is no point
    wanted: int  # texts
    state: State = State.planned
    stored: int = 0  # texts, when the entry was last changed
    reason: str | None = None  # of a failure
    plan: str | None = None  # digest
    pid: int | None = None  # of the process that decodes it
    changed_utc: str = ""


@dataclass(slots=True)
class Book:
    """The ledger's content."""

    points: dict[str, Entry] = field(default_factory=dict)  # by digest, in the order in which they were first asked for
    plans: dict[str, Plan] = field(default_factory=dict)

    def put(self, entry: Entry) -> None:
        """Write an entry in place of the one before, with the time."""
        self.points[entry.digest] = replace(entry, changed_utc=datetime.now(UTC).isoformat(timespec="seconds"))

    def mark(self, digest: str, **changes: Any) -> None:
        """Change an entry that is there."""
        self.put(replace(self.points[digest], **changes))


class Ledger:
    """A study's ledger, for one process."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self._root, self._say = root, say

    @property
    def exists(self) -> bool:
        """Whether the study has begun."""
        return self._root.is_dir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of the study's own files, for milliseconds. Raises: StorageError."""
        with explained(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            with short_lock(self._root / LOCK):
                yield

    def change(self, edit: Callable[[Book], T]) -> T:
        """Read the ledger, edit it and write it back, as one step for all processes.

        Raises: StorageError: it cannot be written.
        """
        with self.locked():
            book, notice = _load(self._root)
            if notice:
                self._say(notice)
            result = edit(book)
            replace_file(self._root / STUDY, _page(book))
        return result

    def read(self) -> Book:
        """The ledger as the disk has it now."""
        return read_ledger(self._root)


def read_ledger(root: Path) -> Book:
    """A study's ledger, true to its folders: states and numbers of texts as they are now. Needs no lock.

    A broken or missing one is made up from the run folders; nothing is written.
    """
    book, _ = _load(root)
    return Book({digest: _true(entry, root) for digest, entry in book.points.items()}, book.plans)


def plan_together(  # noqa: PLR0913 - of one caller
    book: Book,
    held: Sequence[str],
    begun: set[str],
    lanes: Mapping[int, int],
    compact_every: int,
    *,
    pinned: bool,
) -> tuple[dict[str, list[str]], list[str]]:
    """Which of the points that this process holds share a plan, and which go on without those they began with.

    Points keep their plan; those that have none are planned together. A point that was planned with others which are
    not here now is planned anew while it has no text, and goes on in units of another make where it has some.

    Args:
        book: to which new plans are added.
        held: digests in the order of the study.
        begun: which of them have texts.
        lanes: most in one forward pass now, by the beams of a lane.
        compact_every: asked for now.
        pinned: the lanes were asked for, not found by the free memory.

    Returns: digests by their plan's; digests.
    """
    kept: dict[str, list[str]] = {}
    apart: list[str] = []
    fresh: list[str] = []
    for digest in held:
        plan = book.plans.get(book.points[digest].plan or "")
        fitting = plan is not None and plan.compact_every == compact_every
        if plan is None or not fitting or (pinned and any(plan.lanes.get(beams, n) != n for beams, n in lanes.items())):
            fresh.append(digest)
            if plan is not None and digest in begun:
                apart.append(digest)
        elif set(plan.points) <= set(held) or digest in begun:
            kept.setdefault(plan.digest, []).append(digest)
            if not set(plan.points) <= set(held):
                apart.append(digest)
        else:
            fresh.append(digest)
    if fresh:
        plan = Plan(tuple(fresh), dict(lanes), compact_every)
        book.plans.setdefault(plan.digest, plan)
        kept[plan.digest] = fresh
        for digest in fresh:
            book.mark(digest, plan=plan.digest)
    return kept, apart


def digest_of(value: object) -> str:
    """SHA-256 of a value in JSON's types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def plan_page(plan: Plan) -> dict[str, object]:
    """A plan in JSON's types."""
    return {"points": list(plan.points), "compact_every": plan.compact_every} | {
        name: {str(beams): n for beams, n in value.items()}
        for name, value in (("lanes", plan.lanes), ("fits", plan.fits))
    }


def stored_texts(folder: Path) -> int:
    """Whole lines of a run folder's texts, counted, not read."""
    try:
        with (folder / GENERATIONS).open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return 0


def _true(entry: Entry, root: Path) -> Entry:
    if entry.folder is None:
        return entry
    folder = root / entry.folder
    stored = stored_texts(folder)
    if is_locked(folder / GENERATIONS):
        state = State.running
    elif entry.state is State.failed:
        state = State.failed
    else:
        state = State.done if stored >= entry.wanted and (folder / SUMMARY).is_file() else State.planned
    return replace(entry, state=state, stored=stored)


def _page(book: Book) -> bytes:
    points = [asdict(entry) for entry in book.points.values()]
    return to_page({"points": points, "plans": {name: plan_page(plan) for name, plan in book.plans.items()}})


def _load(root: Path) -> tuple[Book, str | None]:
    """The ledger as it was written, or made up from the folders; then, what to say of it."""
    path = root / STUDY
    try:
        record = json.loads(path.read_bytes().decode())
        entries = [Entry(**{**values, "state": State[values["state"]]}) for values in record["points"]]
        plans = {name: _plan(values) for name, values in record["plans"].items()}
        return Book({entry.digest: entry for entry in entries}, plans), None
    except FileNotFoundError:
        return _from_folders(root), None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        book = _from_folders(root)
        return book, f"{path} cannot be read: it is made again from {len(book.points)} run folders, no text is lost"


def _plan(values: Mapping[str, Any]) -> Plan:
    def by_beams(name: str) -> dict[int, int]:
        return {int(beams): int(n) for beams, n in values[name].items()}

    return Plan(tuple(map(str, values["points"])), by_beams("lanes"), int(values["compact_every"]), by_beams("fits"))


def _from_folders(root: Path) -> Book:
    book = Book()
    for path in sorted(root.glob("*/provenance.json")):
        try:
            record = json.loads(path.read_bytes().decode())
            point, own = record["point"], record.get("ledger")
            plan = _plan(own["plan"]) if own and own["plan"] else None
            entry = Entry(
                digest=point["digest"],
                label=point["label"],
                role=point["role"],
                folder=path.parent.name,
                wanted=own["wanted"] if own else stored_texts(path.parent),
                plan=plan.digest if plan else None,
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue  # no run folder of this study, or one whose settings are lost: its texts are reused all the same
        book.points[entry.digest] = _true(entry, root)
        if plan:
            book.plans[plan.digest] = plan
    return book
