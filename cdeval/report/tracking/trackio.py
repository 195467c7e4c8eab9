"""The runs of trackio, an embedded tracker that needs no account: a database on this machine, and nothing sent.

They have the names, settings and numbers of W&B's. The process that writes them (`writer`) sees no variable that would
name a server, a Space or a token: trackio would ask the hub for the user's name, and log the machine's load.
"""

from collections.abc import Mapping
from typing import Any

import trackio
from trackio.run import Run
from trackio.sqlite_storage import SQLiteStorage

from cdeval.report.tracking.given import Target
from cdeval.report.tracking.mirror import cell, finite
from cdeval.report.tracking.runs import Mirrored
from cdeval.store.private import masked, masked_all


class TrackioRuns:
    """Open runs, by their ids (`writer.Runs`)."""

    def __init__(self) -> None:
        self._open: dict[str, Any] = {}

    def open(self, target: Target, what: Mirrored) -> None:
        """Begin a run, in place of an earlier one of its id."""
        name = masked(what.name)
        SQLiteStorage.delete_run(target.project, name, what.id)
        config = {**what.config, "tags": list(what.tags), "kind": what.kind}
        self._open[what.id] = Run(
            url=None,
            project=target.project,
            client=None,
            name=name,
            run_id=what.id,
            group=masked(what.study),
            config=masked_all(config),
            existing_runs=[],
        )

    def log(self, name: str, numbers: Mapping[str, float]) -> None:
        """Add numbers to its history."""
        self._open[name].log(dict(numbers))

    def fill(self, what: Mirrored) -> None:
        """Add what its point came to."""
        run = self._open[what.id]
        shown: dict[str, Any] = {name: trackio.Image(str(path), caption=name) for name, path in what.pictures.items()}
        for name, table in what.tables.items():
            rows = [[cell(value) for value in row] for row in table.rows]
            shown[name] = trackio.Table(columns=list(table.columns), data=rows)
        run.log({**finite(what.summary), **shown})

    def close(self, name: str, code: int) -> None:
        """End it; trackio has no exit codes."""
        run = self._open.pop(name)
        if code:
            run.log({"failed": code})
        run.finish()

    def names(self) -> list[str]:
        """List the open ones."""
        return list(self._open)

    def end(self) -> None:
        """Everything is written when a run is ended."""
