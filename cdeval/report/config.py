"""The schema of `conf/report.yaml`: which studies are shown; checked once, at the door."""

from dataclasses import dataclass
from typing import Any

from cdeval.config.fields import TextForm, check_values, text
from cdeval.config.showing import ShowsResults
from cdeval.errors import ConfigError


@dataclass
class ReportRun(ShowsResults):
    """The root of `conf/report.yaml`."""

    study: Any = text(None, TextForm.lines)  # folder or name of a study; a list of them shares one page
    runs: str = "runs"  # folder in which studies are looked up by their names
    out: str | None = None  # folder of the page that several studies share; null: beside the first, named after all


def validate_report(config: ReportRun) -> ReportRun:
    """A single folder becomes a list of one.

    Raises: ConfigError: no folder is named, something that is no path, or a place for one study's report.
    """
    check_values(config)
    given = config.study if isinstance(config.study, list) else [] if config.study is None else [config.study]
    if not given:
        raise ConfigError(
            "study= has no value: give a study's folder, as study=runs/embedded, or several as study=[a,b]."
        )
    if not all(isinstance(path, str | int) and path != "" for path in given):
        raise ConfigError(f"study={config.study!r}: expected a folder, or a list of folders as study=[a,b].")
    config.study = [str(path) for path in given]  # a folder may be called 1
    if config.out is not None and len(given) == 1:
        raise ConfigError(
            f"out={config.out} is not read with one study, whose report lies in its own folder: give several, as "
            "study=[a,b], or leave out= out."
        )
    return config
