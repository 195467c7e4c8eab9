"""The finished points of a study, whichever command or process decoded them, as their run folders tell it.

A study's table, report and comparisons show all of them. Points that continue the same prompts by the same expert in
the same number format are of one group: they are scored together and compared with one another.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cdeval.config.points import Point, Role, stored_alone
from cdeval.store.files import writing
from cdeval.store.folder import SUMMARY
from cdeval.store.ledger import PointState, read_ledger
from cdeval.store.locks import short_lock
from cdeval.store.sessions import PROVENANCE

_TURN = ".scoring.lock"


class Group(NamedTuple):
    """The facts that points share when they are scored together."""

    prompts: str  # digest of the prompts
    expert: str  # fingerprint
    dtype: str


@dataclass(frozen=True, slots=True)
class Finished:
    """A point that has a row in the study's table."""

    digest: str
    label: str
    role: str
    folder: str  # name of its run folder
    setting: Mapping[str, Any] | None  # as `Point.facts` writes it; None for the human reference
    group: Group | None  # None: it is not known, as of random weights

    @property
    def samples(self) -> int:
        """The number of texts a prompt."""
        return int(((self.setting or {}).get("sampling") or {}).get("samples", 1))


@contextmanager
def scoring_turn(root: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Score a study while no other process does, so that whoever comes last sees the points of all.

    Raises: StorageError: the lock's file cannot be made.
    """
    line = f"waiting for another process, which scores {root}"
    with writing(root / _TURN), short_lock(root / _TURN, lambda: say(line)):
        yield


def finished_point(point: Point, group: Group | None) -> Finished:
    """A point that this process holds."""
    setting: Any = point.facts()["setting"]
    return Finished(point.digest, point.label, point.role.value, point.folder, setting, group)


def all_finished(root: Path, mine: Sequence[Finished]) -> list[Finished]:
    """The points of this process and all others of the study that are finished, in the order of the study.

    That is the order in which points were first asked for, the human references last.
    Points that would be called the same have a part of their digest in their labels.
    """
    recorded = read_ledger(root).points
    found = {one.digest: one for one in mine}
    for path in sorted(root.glob(f"*/{SUMMARY}")):
        one = _stored(path.parent)
        if one is None or one.digest in found:
            continue
        entry = recorded.get(one.digest)
        if entry is None or entry.state is PointState.failed or entry.stored >= entry.wanted:
            found[one.digest] = one if entry is None else replace(one, role=entry.role)
    places = {digest: place for place, digest in enumerate(recorded)}
    fresh = [one.digest for one in mine]

    def place(one: Finished) -> tuple[bool, int, int, str]:
        own = fresh.index(one.digest) if one.digest in fresh else len(fresh)
        return one.role == Role.human.value, places.get(one.digest, len(places)), own, one.folder

    ordered = sorted(found.values(), key=place)
    counts = Counter(one.label for one in ordered)
    return [replace(one, label=f"{one.label} #{one.digest[:6]}") if counts[one.label] > 1 else one for one in ordered]


def controls_among(points: Iterable[Finished]) -> dict[str, str]:
    """Find the row that each arm is compared with, by labels: in its group, the expert alone under the same search.

    Where there is none, it is compared with the group's first control. Controls are compared with nobody.
    """
    found: dict[str, str] = {}
    rows = [one for one in points if one.group is not None and one.setting is not None]
    for one in rows:
        controls = [other for other in rows if other.group == one.group and other.role == Role.control.value]
        alone = stored_alone(one.setting or {})
        chosen = next((other for other in controls if dict(other.setting or {}) == alone), None)
        chosen = chosen or next(iter(controls), None)
        if chosen is not None and chosen.digest != one.digest and one.role != Role.control.value:
            found[one.label] = chosen.label
    return found


def _stored(folder: Path) -> Finished | None:
    """A run folder's point; None where its settings cannot be read: nothing then says what its texts are of."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, yaml.YAMLError):
        point = yaml.safe_load((folder / "config.yaml").read_bytes())["point"]
        role, setting = Role(point["role"]).value, point["setting"]
        group = None
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            record = json.loads((folder / PROVENANCE).read_bytes())
            models = record["models"]
            group = Group(str(record["prompts_digest"]), str(models["fingerprint"]), str(models["dtype"]))
        return Finished(str(point["digest"]), str(point["label"]), role, folder.name, setting, group)
    return None
