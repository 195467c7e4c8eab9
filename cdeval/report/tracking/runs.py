"""What one run of a tracker holds, and its form as JSON, in which it goes to a process of its own."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cdeval.report.tracking.given import SweepRun
from cdeval.store.strict_json import to_exact_page, to_line

_TAG_SIGNS = 64  # the most that W&B takes


class WandbTable(NamedTuple):
    """A W&B table; None and NaN are empty cells."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


class Mirrored(NamedTuple):
    """The content of one run, or what is known of it before its point is decoded: then it has no numbers and tables."""

    study: str  # group of the run
    label: str  # its name; study, label and digest make its id, so that a repeated one replaces itself
    kind: str  # its job type
    folder: Path  # all of its `wandb/` is the mirror
    config: Mapping[str, object]  # to search by
    summary: Mapping[str, float]  # numbers by name; those that are not finite are left out
    tables: Mapping[str, WandbTable]
    pictures: Mapping[str, Path] = {}  # PNG files by name
    files: Sequence[Path] = ()  # what its artifact holds; none: no artifact
    digest: str = ""  # of its point
    better: Mapping[str, int] = {}  # numbers that have an order: 1, higher is better, or -1
    tags: Sequence[str] = ()
    given: SweepRun | None = None  # the run that it is

    @property
    def name(self) -> str:
        """The name on one line."""
        return " ".join(self.label.split())

    @property
    def mirror(self) -> Path:
        """The folder of the offline run."""
        return self.folder / "wandb"

    @property
    def id(self) -> str:
        """The run's id for its tracker."""
        if self.given is not None:
            return self.given.run_id
        return hashlib.sha256(to_exact_page([self.study, self.kind, self.label, self.digest])).hexdigest()[:16]


def to_message(run: Mirrored) -> dict[str, Any]:
    """Write a run as JSON's own types."""
    return {
        **run._asdict(),
        "folder": str(run.folder),
        "config": json.loads(to_line(run.config)),
        "tables": {name: [list(table.columns), list(map(list, table.rows))] for name, table in run.tables.items()},
        "pictures": {name: str(path) for name, path in run.pictures.items()},
        "files": [str(path) for path in run.files],
        "given": run.given and list(run.given),
    }


def from_message(message: Mapping[str, Any]) -> Mirrored:
    """Read what `to_message` wrote."""
    return Mirrored(**message)._replace(
        folder=Path(message["folder"]),
        tables={name: WandbTable(*table) for name, table in message["tables"].items()},
        pictures={name: Path(path) for name, path in message["pictures"].items()},
        files=[Path(path) for path in message["files"]],
        given=message["given"] and SweepRun(*message["given"]),
    )


def tags_of(*words: object) -> list[str]:
    """List tags as W&B takes them: each once, none empty, none too long."""
    return list(dict.fromkeys(str(word)[:_TAG_SIGNS] for word in words if word))
