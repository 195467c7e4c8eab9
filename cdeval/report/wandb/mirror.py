"""One offline W&B run, written into a folder of ours: settings, numbers, tables, pictures and files.

Nothing is mirrored that was not asked for: no console output, code, git, command line, host name or system statistics,
and no home folder (`cdeval.store.private`). wandb's own logs of the mirroring, which name it, are deleted.
While the mirror is written wandb sees none of the user's WANDB_* variables, so no key can reach a file.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cdeval.config.schema import TrackingConfig
from cdeval.store.private import masked, masked_all
from cdeval.store.strict_json import to_exact_page, to_line
from cdeval.report.measures import ways
from cdeval.report.wandb.confined import wandb_confined

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


class WandbTable(NamedTuple):
    """A W&B table; None and NaN are empty cells."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


class Mirrored(NamedTuple):
    """The content of one W&B run."""

    study: str  # group of the W&B run
    label: str  # its name; study, label and config make its id, so that a repeated one replaces itself
    kind: str  # its job type
    folder: Path  # all of its `wandb/` is the mirror
    config: Mapping[str, object]  # to search by
    summary: Mapping[str, float]  # numbers by name; those that are not finite are left out
    tables: Mapping[str, WandbTable]
    pictures: Mapping[str, Path] = {}  # PNG files by name
    files: Sequence[Path] = ()  # what its artifact holds; none: no artifact

    @property
    def name(self) -> str:
        """The name on one line."""
        return " ".join(self.label.split())

    @property
    def mirror(self) -> Path:
        """The folder of the offline run."""
        return self.folder / "wandb"


def write_mirror(config: TrackingConfig, what: Mirrored) -> None:
    """Write the offline run in place of an earlier one, which would be sent along with it.

    Raises: whatever wandb or the disk raises; then nothing is left, because half a mirror would pass for a whole one.
    """
    try:
        if what.mirror.exists():
            shutil.rmtree(what.mirror)
        what.mirror.mkdir(parents=True)  # wandb itself would go elsewhere when it cannot
        _write(config, what)
    except Exception:
        shutil.rmtree(what.mirror, ignore_errors=True)
        raise


def _write(config: TrackingConfig, what: Mirrored) -> None:
    settings = json.loads(to_line(what.config))
    numbers = {name: float(value) for name, value in what.summary.items() if math.isfinite(value)}
    with wandb_confined(what.mirror) as wandb:
        run = wandb.init(
            project=config.project,
            entity=config.entity,
            group=masked(what.study),
            job_type=what.kind,
            name=masked(what.name),
            id=hashlib.sha256(to_exact_page([what.study, what.label, settings])).hexdigest()[:16],
            config=masked_all(settings),
            settings=wandb.Settings(root_dir=str(what.folder.resolve()), **_SETTINGS),
        )
        try:
            for name, way in ways().items():
                if name in numbers:
                    run.define_metric(name, summary="max" if way > 0 else "min")
            shown: dict[str, Any] = {name: _table(wandb.Table, table) for name, table in what.tables.items()}
            shown |= {name: wandb.Image(str(path), caption=name) for name, path in what.pictures.items()}
            run.log({**numbers, **shown})
            run.summary.update(numbers)  # plain numbers, not the {"max": …} that define_metric makes of them
            if what.files:
                artifact = wandb.Artifact(f"report-{run.id}", type="report", metadata={"study": masked(what.study)})
                for path in what.files:
                    artifact.add_file(str(path), name=path.relative_to(what.folder).as_posix())
                run.log_artifact(artifact)
        finally:
            run.finish()
    for logs in list(what.mirror.rglob("logs")):  # also those of the service, beside the cache
        shutil.rmtree(logs)


def _table(table: Any, content: WandbTable) -> Any:
    return table(columns=list(content.columns), data=[[_cell(value) for value in row] for row in content.rows])


def _cell(value: object) -> object:
    if isinstance(value, str):
        return masked(value).encode("utf-8", "replace").decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value
