"""The ledger `runs/<study>/study.json`: every point of a study, how far it is, and which points were planned together.

It is an overview, not the truth: texts lie in the run folders, and a point is done where its folder is complete. So a
ledger that is lost or broken is made again from the folders, and a point that a killed process left behind as running
reads as planned. The file is replaced as a whole, by one process at a time, under a lock on `.study.lock`. The lock is
held for milliseconds: nothing is decoded, scored or drawn meanwhile.
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


class PointState(Enum):
    """The progress of a point."""

    planned = "planned"  # also: begun and interrupted
    running = "running"  # a process holds its run folder
    done = "done"  # all texts stored and scored
    failed = "failed"


@dataclass(frozen=True, slots=True)
class Plan:
    """Points that were requested together, and so share units of work (`cdeval.study.units`)."""

    points: tuple[str, ...]  # digests, in the order of the study
    lanes: Mapping[int, int]  # most in one forward pass, by the beams of a lane
    compact_every: int  # steps; 0 never compacts
    fits: Mapping[int, int] = field(default_factory=dict)  # as lanes, where memory ran out and units were halved

    @property
    def digest(self) -> str:
        """Names it in the ledger."""
        return digest_of([self.points, sorted(self.lanes.items()), self.compact_every])[:16]


class Capacity(NamedTuple):
    """The number of lanes that may share a forward pass now, for points that have no plan yet."""

    lanes: Mapping[int, int]  # by the beams of a lane
    compact_every: int  # steps between compactions of the cache; 0 never compacts
    pinned: bool  # the user set the number of lanes; False: it follows from the free memory

    def agrees(self, plan: Plan) -> bool:
        """Whether a plan has the lanes and compaction that the user asks for now; free memory may have changed."""
        lanes = not self.pinned or all(plan.lanes.get(beams) in (None, most) for beams, most in self.lanes.items())
        return lanes and plan.compact_every == self.compact_every


@dataclass(frozen=True, slots=True)
class Entry:
    """One point, or a requested setting that could not become a point."""

    digest: str  # of the point; of the request, where its models cannot be opened
    label: str
    role: str
    folder: str | None  # name of the run folder; None for a setting that is no point
    wanted: int  # number of texts
    state: PointState = PointState.planned
    stored: int = 0  # number of texts when the entry was last changed
    reason: str | None = None  # why it failed
    plan: str | None = None  # digest of its plan
    pid: int | None = None  # of the process that decodes it
    changed_utc: str = ""


@dataclass(slots=True)
class LedgerState:
    """The content of a ledger."""

    points: dict[str, Entry] = field(default_factory=dict)  # by digest, in the order in which they were first asked for
    plans: dict[str, Plan] = field(default_factory=dict)

    def put(self, *entries: Entry) -> None:
        """Write entries in place of earlier ones of the same points, with the time; a point keeps its plan."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for entry in entries:
            before = self.points.get(entry.digest)
            plan = entry.plan or (before.plan if before else None)
            self.points[entry.digest] = replace(entry, plan=plan, changed_utc=now)


class Ledger:
    """The ledger of one study, as one process reads and changes it."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self._root, self._say = root, say

    @property
    def exists(self) -> bool:
        """Whether the study's folder is there."""
        return self._root.is_dir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of the study's own files for milliseconds.

        Raises: StorageError: the lock's file cannot be made.
        """
        with writing(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
        with writing(self._root / LOCK), short_lock(self._root / LOCK):
            yield

    def change(self, edit: Callable[[LedgerState], T]) -> T:
        """Read the ledger, edit it and write it back, as one step for all processes.

        Args: edit: changes the state in place. It runs under the lock, so it must neither compute nor read texts.

        Raises: StorageError: it cannot be written.
        """
        with self.locked():
            state, notice = _load(self._root)
            if notice:
                self._say(notice)
            result = edit(state)
            replace_file(self._root / STUDY, _page(state))
        return result


def read_ledger(root: Path) -> LedgerState:
    """Read a study's ledger and correct its states and numbers of texts by the run folders as they are now.

    This needs no lock. A broken or missing ledger is made up from the run folders; nothing is written.
    """
    state, _ = _load(root)
    return LedgerState({digest: _true(entry, root) for digest, entry in state.points.items()}, state.plans)


def plan_together(
    state: LedgerState, held: Sequence[str], begun: set[str], lacking: set[str], capacity: Capacity
) -> tuple[dict[str, list[str]], list[str]]:
    """Tell which of the points that this process holds share a plan, and plan those together that have none.

    A point that was planned with others which are not held now is planned anew while it has no text. Where it has
    texts, it goes on in units that lack those others: in bfloat16 its texts may then differ from an undisturbed run's.

    Args:
        state: the ledger's, to which new plans are added.
        held: digests of the points, in the order of the study.
        begun: which of them have texts.
        lacking: which of them lack texts; complete ones are decoded again only beside points of their plan.
        capacity: for new plans.

    Returns: the digests of points by the digest of their plan; the digests of points that go on without others.
    """
    kept: dict[str, list[str]] = {}
    apart: list[str] = []
    fresh: list[str] = []
    for digest in held:
        plan = state.plans.get(state.points[digest].plan or "")
        together = plan is not None and set(plan.points) <= set(held) and capacity.agrees(plan)
        if plan is not None and (together or (capacity.agrees(plan) and digest in begun)):
            kept.setdefault(plan.digest, []).append(digest)
        elif digest in lacking:
            fresh.append(digest)
        if plan is not None and not together and digest in begun & lacking:
            apart.append(digest)
    if fresh:
        plan = Plan(tuple(fresh), dict(capacity.lanes), capacity.compact_every)
        state.plans.setdefault(plan.digest, plan)
        kept.setdefault(plan.digest, []).extend(fresh)
        for digest in fresh:
            state.put(replace(state.points[digest], plan=plan.digest))
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
    """Count the texts of a run folder by its whole lines, without parsing them."""
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
        state = PointState.running
    elif entry.state is PointState.failed:
        state = PointState.failed
    else:
        state = PointState.done if stored >= entry.wanted and (folder / SUMMARY).is_file() else PointState.planned
    return replace(entry, state=state, stored=stored)


def _page(state: LedgerState) -> bytes:
    points = [asdict(entry) for entry in state.points.values()]
    return to_page({"points": points, "plans": {name: plan_page(plan) for name, plan in state.plans.items()}})


def _load(root: Path) -> tuple[LedgerState, str | None]:
    """Read the ledger as it was written, or make it up from the folders and say so."""
    path = root / STUDY
    try:
        record = parse(path.read_bytes())
        entries = [_entry(values) for values in record["points"]]
        plans = {name: _plan(values) for name, values in record["plans"].items()}
        if any(plan.digest != name for name, plan in plans.items()):
            raise ValueError("a plan under another one's name")
        return LedgerState({entry.digest: entry for entry in entries}, plans), None
    except FileNotFoundError:
        return _from_folders(root), None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        state = _from_folders(root)
        return state, f"{path} cannot be read: it is made again from {len(state.points)} run folders, no text is lost"


def _entry(values: Mapping[str, Any]) -> Entry:
    """Read an entry. Raises: ValueError, TypeError, KeyError: a field is missing, of another type or impossible."""
    for name in ("wanted", "stored"):
        count(values, name)
    texts = [values[name] for name in ("digest", "label", "role", "changed_utc")]
    maybe = [values[name] for name in ("folder", "reason", "plan")]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(text, str | None) for text in maybe):
        raise ValueError("a field is no text")
    folder = values["folder"]
    if folder is not None and Path(folder).name != folder:
        raise ValueError(f"{folder!r} is no name of a run folder")
    return Entry(**{**values, "state": PointState[values["state"]]})


def _plan(values: Mapping[str, Any]) -> Plan:
    """Read a plan. Raises: as `_entry`."""

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


def _from_folders(root: Path) -> LedgerState:
    state = LedgerState()
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
        state.points[entry.digest] = _true(entry, root)
        if plan:
            state.plans[plan.digest] = plan
    return state
