"""What a run folder's texts were made on, session by session: the first one in full, of each what moves a last bit."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cdeval.errors import StorageError
from cdeval.hashing import is_whole
from cdeval.provenance import differing, identity
from cdeval.store import RunFolder

PROVENANCE = "provenance.json"


def by_sample(study: Path) -> list[str]:
    """Names of the study's run folders whose model is known by a sample of its weights alone, as older releases did."""
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
    """Enter in `provenance.json` that texts are about to be decoded here.

    Args:
        folder: of the point.
        now: `provenance.provenance` of this process and point, with what else the file is to say.
        ledger: the point's part of the ledger, from which that can be made again.
        begun: the folder has texts; their record stays.

    Returns: what differs from the session before in a way that changes bfloat16 texts; nothing in float32.

    Raises: StorageError: the file cannot be written.
    """
    before: Any = None
    if begun:
        with suppress(StorageError):  # a lost or broken record does not make the texts worse
            before = folder.read_json(PROVENANCE)
    mine = {"started_utc": now["started_utc"], "identity": identity(now), "plan": ledger["plan_digest"]}
    if not isinstance(before, dict) or "machine" not in before or "libraries" not in before:
        folder.write_json(PROVENANCE, {**now, "ledger": ledger, "sessions": [mine]})
        return []
    first = {"started_utc": before.get("started_utc"), "identity": identity(before), "plan": None}
    sessions = before.get("sessions") or [first]
    folder.write_json(PROVENANCE, {**before, "ledger": ledger, "sessions": [*sessions, mine]})
    known = sessions[-1]["identity"]
    return [] if known.get("dtype") == "float32" else differing(known, identity(now))
