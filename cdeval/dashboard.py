"""`python -m cdeval.dashboard study=runs/<study>`: the study's workspace and report on W&B; `--dry` prints them."""

import sys
from pathlib import Path

from cdeval.cli import Schema, run_schema
from cdeval.dashboardconfig import DashboardRun, validate_dashboard
from cdeval.screen import Screen


def dashboard(config: DashboardRun) -> None:
    """Write and print what is created, and create it unless that is all; to the standard output."""
    from cdeval.reporting.views import publish_views, write_views  # noqa: PLC0415 - plotting takes a second

    console = Screen()
    folder = Path(config.study or "")
    lines = write_views(folder, config.entity, config.project)
    if not config.dry:
        lines += publish_views(folder, config.entity, config.project)
    for line in lines:
        console.say(line)


if __name__ == "__main__":
    sys.argv[1:] = ["dry=true" if argument == "--dry" else argument for argument in sys.argv[1:]]
    run_schema(dashboard, Schema(DashboardRun, validate_dashboard), config_name="dashboard")
