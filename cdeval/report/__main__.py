"""`python -m cdeval.report study=runs/<study>`: the page, tables and pictures of studies, from their files alone."""

from pathlib import Path

from cdeval.cli import Schema, run_schema
from cdeval.report.config import ReportRun, validate_report
from cdeval.store.screen import Screen


def report(config: ReportRun) -> None:
    """Write each study's report; the pages' places to the standard output."""
    # Plotting takes a second; --help must not.
    from cdeval.report.publish import write_report  # noqa: PLC0415
    from cdeval.report.renewing import renew_comparisons  # noqa: PLC0415

    console, errors = Screen(), Screen(errors=True)
    for folder in map(Path, config.study):
        renew_comparisons(folder, errors.say)
        page = write_report(folder, errors.say)
        console.say(str(page))


if __name__ == "__main__":
    run_schema(report, Schema(ReportRun, validate_report), config_name="report")
