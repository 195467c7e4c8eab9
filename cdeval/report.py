"""`python -m cdeval.report study=runs/<study>`: the page, tables and pictures of studies, from their files alone."""

from pathlib import Path

from cdeval.cli import Schema, run_schema
from cdeval.reportconfig import ReportRun, validate_report
from cdeval.screen import Screen


def report(config: ReportRun) -> None:
    """Write each study's report; the pages' places to the standard output."""
    from cdeval.reporting.publish import write_report  # noqa: PLC0415 - plotting takes a second; --help must not

    console = Screen()
    for folder in config.study:
        page = write_report(Path(folder), Screen(errors=True).say)
        console.say(str(page))


if __name__ == "__main__":
    run_schema(report, Schema(ReportRun, validate_report), config_name="report")
