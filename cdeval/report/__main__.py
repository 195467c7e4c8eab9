"""`python -m cdeval.report study=runs/<study>`: the page, tables and pictures of studies, from their files alone."""

from pathlib import Path

from cdeval.cli import Schema, run_schema
from cdeval.report.config import ReportRun, validate_report
from cdeval.report.screen import Results, show
from cdeval.report.studyfiles import read_study
from cdeval.report.table import chosen_columns
from cdeval.store.screen import Screen


def report(config: ReportRun) -> None:
    """Write the report of a study, or of several together; verdict, table and its place to the standard output."""
    # Plotting takes a second; --help must not.
    from cdeval.report.answer import answer, asked_metrics  # noqa: PLC0415
    from cdeval.report.interchange import EXPORTS, write_interchange  # noqa: PLC0415
    from cdeval.report.joined import find_study, joined, joint_folder  # noqa: PLC0415
    from cdeval.report.publish import publish  # noqa: PLC0415
    from cdeval.report.renewing import renew_comparisons  # noqa: PLC0415

    console, errors = Screen(), Screen(errors=True)
    folders = [find_study(given, Path(config.runs)) for given in config.study]
    for folder in folders:
        renew_comparisons(folder, errors.say)
    studies = [read_study(folder) for folder in folders]
    out = None if config.out is None else Path(config.out)
    study = studies[0] if len(studies) == 1 else joined(studies, joint_folder(folders, out))
    for line in study.changed:
        errors.say(line)
    page = publish(study, errors.say)
    exports = write_interchange(study, config)
    columns = chosen_columns(study.rows, asked_metrics(study))
    name, verdict = f"study {study.name}", answer(study)
    places = [str(page), *(f"{len(exports)} files in {study.folder / EXPORTS}" for _ in exports[:1])]
    found = Results(name, study.rows, columns, study.comparisons, study.notes, places, verdict, families=study.families)
    show(found, config.notes, console)


if __name__ == "__main__":
    run_schema(report, Schema(ReportRun, validate_report), config_name="report")
