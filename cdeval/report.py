"""`python -m cdeval.report study=runs/<study>`: the page, tables and pictures of studies, from their files alone."""

import sys
from pathlib import Path

from rich.console import Console

from cdeval.cli import Schema, run_schema
from cdeval.reportconfig import ReportRun, validate_report


def report(config: ReportRun) -> None:
    """Write each study's report; the pages' places to the standard output."""
    from cdeval.reporting.publish import write_report  # noqa: PLC0415 - plotting takes a second; --help must not

    console = Console(file=sys.stdout)
    for folder in config.study:
        page = write_report(Path(folder).expanduser())
        console.print(str(page), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    run_schema(report, Schema(ReportRun, validate_report), config_name="report")
