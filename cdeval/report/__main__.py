"""`python -m cdeval.report study=runs/<study>`: the page, tables and pictures of studies, from their files alone."""

from pathlib import Path

from cdeval.cli import Schema, run_schema
from cdeval.report.config import ReportRun, validate_report
from cdeval.report.screen import Results, show
from cdeval.report.studyfiles import read_study
from cdeval.report.table import chosen_columns
from cdeval.store.screen import Screen


def report(config: ReportRun) -> None:
    """Write each study's report; verdict, table and the pages' places to the standard output."""
    # Plotting takes a second; --help must not.
    from cdeval.report.answer import answer, asked_metrics  # noqa: PLC0415
    from cdeval.report.publish import publish  # noqa: PLC0415
    from cdeval.report.renewing import renew_comparisons  # noqa: PLC0415

    console, errors = Screen(), Screen(errors=True)
    for folder in map(Path, config.study):
        renew_comparisons(folder, errors.say)
        study = read_study(folder)
        for line in study.changed:
            errors.say(line)
        page = publish(study, errors.say)
        columns = chosen_columns(study.rows, asked_metrics(study))
        name, verdict = f"study {study.name}", answer(study)
        show(
            Results(name, study.rows, columns, study.comparisons, study.notes, [str(page)], verdict),
            config.notes,
            console,
        )


if __name__ == "__main__":
    run_schema(report, Schema(ReportRun, validate_report), config_name="report")
