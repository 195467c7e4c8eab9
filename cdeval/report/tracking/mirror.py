"""One offline W&B run, written into a folder of ours: settings, numbers, tables, pictures and files.

Nothing is mirrored that was not asked for: no console output, code, git, command line, host name or system statistics,
and no home folder (`cdeval.store.private`). wandb's own logs of the mirroring, which name it, are deleted.
While the mirror is written wandb sees none of the user's WANDB_* variables, so no key can reach a file.
"""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cdeval.report.tracking.confined import wandb_confined
from cdeval.report.tracking.given import Target
from cdeval.report.tracking.runs import Mirrored, WandbTable
from cdeval.store.private import masked, masked_all
from cdeval.store.strict_json import to_line

# What wandb would add on its own accord, and where it would add it.
_SETTINGS: dict[str, Any] = {
    "mode": "offline",
    "reinit": "create_new",  # a W&B run of the caller's own stays as it is
    "console": "off",
    "silent": True,
    "quiet": True,
    "symlink": False,
    "save_code": False,
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "host": "",
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "init_timeout": 30,
}


_LATE = ("unknown", "arms")  # in a run's config, of what is known once its study is finished


def write_mirror(target: Target, what: Mirrored) -> None:
    """Write the offline run in place of an earlier one, which would be sent along with it.

    Raises: whatever wandb or the disk raises; then nothing is left, because half a mirror would pass for a whole one.
    """
    try:
        empty_mirror(what)
        with wandb_confined(what.mirror) as wandb:
            run = open_run(wandb, target, what)
            try:
                fill_run(wandb, run, what)
            finally:
                run.finish()
        delete_logs(what.mirror)
    except Exception:
        shutil.rmtree(what.mirror, ignore_errors=True)
        raise


def empty_mirror(what: Mirrored) -> None:
    """Make the folder of the mirror, without an earlier one. Raises: OSError: the disk refuses."""
    if what.mirror.exists():
        shutil.rmtree(what.mirror)
    what.mirror.mkdir(parents=True)  # wandb itself would go elsewhere when it cannot


def open_run(wandb: Any, target: Target, what: Mirrored) -> Any:
    """Begin the offline run with its settings, which are known before its numbers are."""
    given = what.given
    named = {} if given is None or given.sweep_id is None else {"sweep_id": given.sweep_id}
    return wandb.init(
        project=target.project,
        entity=target.entity,
        group=masked(what.study),
        job_type=what.kind,
        name=masked(what.name),
        id=what.id,
        tags=[masked(tag) for tag in what.tags] or None,
        config=masked_all(json.loads(to_line(what.config))),
        settings=wandb.Settings(root_dir=str(what.folder.resolve()), **_SETTINGS, **named),
    )


def fill_run(wandb: Any, run: Any, what: Mirrored) -> None:
    """Put numbers, tables, pictures and files into an open run."""
    numbers = finite(what.summary)
    for name, way in what.better.items():
        if name in numbers:
            run.define_metric(name, summary="max" if way > 0 else "min")
    known = {name: what.config[name] for name in _LATE if name in what.config}
    if known:
        run.config.update(masked_all(json.loads(to_line(known))), allow_val_change=True)
    shown: dict[str, Any] = {name: _table(wandb.Table, table) for name, table in what.tables.items()}
    shown |= {name: wandb.Image(str(path), caption=name) for name, path in what.pictures.items()}
    run.log({**numbers, **shown})
    run.summary.update(numbers)  # plain numbers, not the {"max": …} that define_metric makes of them
    if what.files:
        artifact = wandb.Artifact(f"report-{run.id}", type="report", metadata={"study": masked(what.study)})
        for path in what.files:
            artifact.add_file(str(path), name=path.relative_to(what.folder).as_posix())
        run.log_artifact(artifact)


def delete_logs(mirror: Path) -> None:
    """Delete wandb's own logs, those of its service beside the cache as well."""
    for logs in list(mirror.rglob("logs")):
        shutil.rmtree(logs)


def finite(numbers: Mapping[str, float]) -> dict[str, float]:
    """Leave out what is no number of a tracker's."""
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def cell(value: object) -> object:
    """Write a cell as trackers take it: an empty one for what is no number, no home folder, UTF-8."""
    if isinstance(value, str):
        return masked(value).encode("utf-8", "replace").decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(table: Any, content: WandbTable) -> Any:
    return table(columns=list(content.columns), data=[[cell(value) for value in row] for row in content.rows])
