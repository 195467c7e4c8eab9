"""The record of the sessions that made a run folder's texts: the first in full, of each what can change a last bit."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from cdeval.errors import StorageError
from cdeval.store.folder import RunFolder
from cdeval.store.hashing import is_whole
from cdeval.store.private import masked_all
from cdeval.store.provenance import differing, identity
from cdeval.store.strict_json import plain

PROVENANCE = "provenance.json"


def by_sample(study: Path) -> list[str]:
    """List the study's run folders whose model is known by a sample of its weights alone, as older releases did."""
    found = []
    for path in sorted(study.glob(f"*/{PROVENANCE}")):
        with suppress(OSError, ValueError, KeyError, TypeError):  # a broken record is reported by whoever needs it
            record = json.loads(path.read_bytes())
            if record["point"]["role"] != "human" and not is_whole(record["models"]["fingerprint"]):
                found.append(path.parent.name)
    return found


def record_session(
    folder: RunFolder, now: Mapping[str, Any], ledger: Mapping[str, object], *, begun: bool
) -> list[str]:
    """Record in `provenance.json` that texts are about to be decoded here.

    Args:
        folder: of the point.
        now: `provenance.provenance` of this process and point, with what else the file is to say.
        ledger: the point's part of the ledger, from which that can be made again.
        begun: the folder has texts; their record stays.

    Returns: what differs from the session before in a way that changes bfloat16 texts; nothing in float32.

    Raises: StorageError: the file cannot be written.
    """
    mine = {"started_utc": now["started_utc"], "identity": identity(now), "plan": ledger["plan_digest"]}
    try:
        before = folder.read_mapping(PROVENANCE) if begun else None
        first = before and {"started_utc": before.get("started_utc"), "identity": identity(before), "plan": None}
        sessions = (before.get("sessions") or [first]) if before else []
        known = dict(sessions[-1]["identity"]) if before else {}
    except (StorageError, LookupError, TypeError, ValueError, AttributeError):
        # A lost or broken record does not make the texts worse, but nothing says any more what made them.
        lost: dict[str, object] = {"started_utc": None, "identity": {}, "plan": None}
        folder.write_json(PROVENANCE, {**now, "ledger": ledger, "sessions": [lost, mine]})
        return [f"{folder.path / PROVENANCE} was lost or broken and is begun anew"]
    if not before:
        folder.write_json(PROVENANCE, {**now, "ledger": ledger, "sessions": [mine]})
        return []
    folder.write_json(PROVENANCE, {**before, "ledger": ledger, "sessions": [*sessions, mine]})
    return [] if known.get("dtype") == "float32" else differing(known, identity(now))


def record_plugins(folder: RunFolder, plugins: Sequence[object]) -> None:
    """Add users' modules that are loaded to a folder's record: its scores may be theirs, and its texts older.

    Raises: StorageError: the record cannot be written. One that is lost or broken stays so.
    """
    now = cast("list[Mapping[str, Any]]", masked_all(plain(plugins)))
    try:
        record = folder.read_mapping(PROVENANCE)
        known = record.get("plugins") or []
        united = united_plugins([known, now])
    except (StorageError, TypeError, LookupError):
        return
    if united != known:
        folder.write_json(PROVENANCE, {**record, "plugins": united})


def united_plugins(lists: Iterable[Sequence[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    """Unite what several records say of users' modules: of each the last, by its name."""
    found = {str(one["name"]): one for plugins in lists for one in plugins}
    return [found[name] for name in sorted(found)]


def is_recorded(folder: RunFolder) -> bool:
    """Tell whether a folder's record says what made its texts, and of which point they are."""
    try:
        record = folder.read_mapping(PROVENANCE)
        return isinstance(record["point"]["digest"], str) and isinstance(identity(record), dict)
    except (StorageError, LookupError, TypeError, AttributeError):
        return False
