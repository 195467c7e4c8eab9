"""`python -m cdeval.dashboard study=runs/<study>`: the study's workspace and report on W&B; `--dry` prints them."""

import sys
from dataclasses import dataclass
from pathlib import Path

from cdeval.cli import Schema, run_schema
from cdeval.config.fields import check_values
from cdeval.config.plugins import TakesPlugins
from cdeval.errors import ConfigError
from cdeval.report.tracking.given import owner_of
from cdeval.store.screen import Screen


@dataclass
class DashboardRun(TakesPlugins):
    """The root of `conf/dashboard.yaml`."""

    study: str | None = None  # folder of a study
    project: str | None = None  # as tracking.project; null: WANDB_PROJECT, else cdeval
    entity: str | None = None  # as tracking.entity; null: WANDB_ENTITY, else the key's own
    dry: bool = False  # only write and print what would be created: no network, no key


def validate_dashboard(config: DashboardRun) -> DashboardRun:
    """Check that a folder is named. Raises: ConfigError: none is."""
    check_values(config)
    if not config.study:
        raise ConfigError("study= has no value: give a study's folder, as study=runs/embedded.")
    return config


def dashboard(config: DashboardRun) -> None:
    """Write and print what is created, and create it unless that is all; to the standard output."""
    from cdeval.report.tracking.views import publish_views, write_views  # noqa: PLC0415 - plotting takes a second

    console = Screen()
    folder = Path(config.study or "")
    entity, project = owner_of(config.entity, config.project)
    lines = write_views(folder, entity, project)
    if not config.dry:
        lines += publish_views(folder, entity, project)
    for line in lines:
        console.say(line)


if __name__ == "__main__":
    sys.argv[1:] = ["dry=true" if argument == "--dry" else argument for argument in sys.argv[1:]]
    run_schema(dashboard, Schema(DashboardRun, validate_dashboard), config_name="dashboard")
