"""The ledger `runs/<study>/study.json`: every point of a study, how far it is, and what was planned together.

It is an overview, not the truth: texts lie in the run folders, and a point is done where its folder is complete. So a
ledger that is lost or broken is made again from the folders, and what a killed process left behind as running reads as
planned. The file is replaced as a whole, by one process at a time, under a lock on `.study.lock` that is held for
milliseconds.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cdeval.store.files import writing
from cdeval.store.folder import GENERATIONS, SUMMARY, replace_file
from cdeval.store.locks import is_locked, short_lock
from cdeval.store.strict_json import count, parse, to_page

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
    """What was asked for together, and so shares units of work (`cdeval.study.units`)."""

    points: tuple[str, ...]  # digests, in the order of the study
    lanes: Mapping[int, int]  # most in one forward pass, by the beams of a lane
    compact_every: int  # steps; 0 never compacts
    fits: Mapping[int, int] = field(default_factory=dict)  # as lanes, where memory ran out and units were halved

    @property
    def digest(self) -> str:
        """Names it in the ledger."""
        return digest_of([self.points, sorted(self.lanes.items()), self.compact_every])[:16]


class Room(NamedTuple):
    """How many lanes may share a forward pass now, for what is not planned yet."""

    lanes: Mapping[int, int]  # by the beams of a lane
    compact_every: int  # steps between compactions of the cache; 0 never compacts
    pinned: bool  # the lanes were asked for, not found by the free memory

    def agrees(self, plan: Plan) -> bool:
        """Whether a plan is what would be asked for now; free memory is not asked for."""
        lanes = not self.pinned or all(plan.lanes.get(beams) in (None, most) for beams, most in self.lanes.items())
        return lanes and plan.compact_every == self.compact_every


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

    def put(self, *entries: Entry) -> None:
        """Write entries in place of those before, with the time."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.points |= {entry.digest: replace(entry, changed_utc=now) for entry in entries}

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
        with writing(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
        with writing(self._root / LOCK), short_lock(self._root / LOCK):
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


def plan_together(
    book: Book, held: Sequence[str], begun: set[str], lacking: set[str], room: Room
) -> tuple[dict[str, list[str]], list[str]]:
    """Which of the points that this process holds share a plan, and which go on without those they began with.

    Points keep their plan; those that have none are planned together. A point that was planned with others which are
    not here now is planned anew while it has no text, and goes on in units of another make where it has some.

    Args:
        book: to which new plans are added.
        held: digests in the order of the study.
        begun: which of them have texts.
        lacking: which of them lack texts; others are decoded again only beside those that they were planned with.
        room: for new plans.

    Returns: digests by their plan's; digests.
    """
    kept: dict[str, list[str]] = {}
    apart: list[str] = []
    fresh: list[str] = []
    for digest in held:
        plan = book.plans.get(book.points[digest].plan or "")
        together = plan is not None and set(plan.points) <= set(held) and room.agrees(plan)
        if plan is not None and (together or (room.agrees(plan) and digest in begun)):
            kept.setdefault(plan.digest, []).append(digest)
        elif digest in lacking:
            fresh.append(digest)
        if plan is not None and not together and digest in begun & lacking:
            apart.append(digest)
    if fresh:
        plan = Plan(tuple(fresh), dict(room.lanes), room.compact_every)
        book.plans.setdefault(plan.digest, plan)
        kept.setdefault(plan.digest, []).extend(fresh)
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
        record = parse(path.read_bytes())
        entries = [_entry(values) for values in record["points"]]
        plans = {name: _plan(values) for name, values in record["plans"].items()}
        if any(plan.digest != name for name, plan in plans.items()):
            raise ValueError("a plan under another one's name")
        return Book({entry.digest: entry for entry in entries}, plans), None
    except FileNotFoundError:
        return _from_folders(root), None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        book = _from_folders(root)
        return book, f"{path} cannot be read: it is made again from {len(book.points)} run folders, no text is lost"


def _entry(values: Mapping[str, Any]) -> Entry:
    """Raises: ValueError, TypeError, KeyError: a field is missing, of another type or impossible."""
    for name in ("wanted", "stored"):
        count(values, name)
    texts = [values[name] for name in ("digest", "label", "role", "changed_utc")]
    maybe = [values[name] for name in ("folder", "reason", "plan")]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(text, str | None) for text in maybe):
        raise ValueError("a field is no text")
    folder = values["folder"]
    if folder is not None and Path(folder).name != folder:
        raise ValueError(f"{folder!r} is no name of a run folder")
    return Entry(**{**values, "state": State[values["state"]]})


def _plan(values: Mapping[str, Any]) -> Plan:
    """Raises: as `_entry`."""

    def by_beams(name: str) -> dict[int, int]:
        found = {int(beams): count(values[name], beams) for beams in values[name]}
        if any(beams < 1 or lanes < 1 for beams, lanes in found.items()):
            raise ValueError(f"{name} of less than one")
        return found

    points = values["points"]
    if not points or not isinstance(points, list) or not all(isinstance(point, str) for point in points):
        raise ValueError("a plan without points")
    return Plan(tuple(points), by_beams("lanes"), count(values, "compact_every"), by_beams("fits"))


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def _from_folders(root: Path) -> Book:
    book = Book()
    for path in sorted(root.glob("*/provenance.json")):
        try:
            record = parse(path.read_bytes())
            point, own = record["point"], record.get("ledger")
            plan = _plan(own["plan"]) if own and own["plan"] else None
            entry = Entry(
                digest=_text(point, "digest"),
                label=_text(point, "label"),
                role=_text(point, "role"),
                folder=path.parent.name,
                wanted=count(own, "wanted") if own else stored_texts(path.parent),
                plan=plan.digest if plan else None,
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue  # no run folder of this study, or one whose settings are lost: its texts are reused all the same
        book.points[entry.digest] = _true(entry, root)
        if plan:
            book.plans[plan.digest] = plan
    return book
