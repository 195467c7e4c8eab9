"""The schema of `conf/dashboard.yaml`: which study is shown on W&B, and where; checked once, at the door."""

from dataclasses import dataclass

from cdeval.errors import ConfigError
from cdeval.schema import check_values


@dataclass
class DashboardRun:
    """The root of `conf/dashboard.yaml`."""

    study: str | None = None  # folder of a study
    project: str = "cdeval"  # as tracking.project
    entity: str | None = None  # as tracking.entity; null: the key's own
    dry: bool = False  # only write and print what would be created: no network, no key


def validate_dashboard(config: DashboardRun) -> DashboardRun:
    """Raises: ConfigError: no folder is named."""
    check_values(config)
    if not config.study:
        raise ConfigError("study= has no value: give a study's folder, as study=runs/embedded.")
    return config
