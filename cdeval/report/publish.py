"""The files of a study's report, written from the study's own files alone."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cdeval.metrics.forms import decimals
from cdeval.report.charts import Chart, charts_of
from cdeval.report.exports import to_csv, to_latex, to_markdown, to_parquet
from cdeval.report.figures import draw_files
from cdeval.report.measures import present, qualities, totals
from cdeval.report.page import to_html
from cdeval.report.pareto import Objective, dominators
from cdeval.report.studyfiles import REPORT, Study, read_study
from cdeval.store.folder import replace_file
from cdeval.store.progress import Steps, say_nothing
from cdeval.store.strict_json import encode


def write_report(folder: Path, say: Callable[[str], None] = say_nothing) -> Path:
    """Write report.html, report.md, results.csv, .parquet and .tex and figures/ into a study's folder.

    Args:
        folder: of the study.
        say: takes a line an arm whose texts are other ones than when it was scored.

    Returns: the page. Raises: StorageError: there is no finished run, a file is broken, or the disk refuses.
    """
    study = read_study(folder)
    for line in study.changed:
        say(line)
    return publish(study, say)


def publish(study: Study, say: Callable[[str], None] = say_nothing) -> Path:
    """Write the same files as `write_report`, of a study that has been read; `say` takes lines of progress."""
    folder, charts = study.folder, charts_of(study)
    with Steps(say, "drew picture", len(charts)) as steps:
        for chart in charts:
            draw_files(chart, folder / "figures")
            steps.advance()
    with Steps(say, "writing the report's tables and page"):
        _write(study, folder, charts)
    return folder / REPORT


def _write(study: Study, folder: Path, charts: Sequence[Chart]) -> None:
    replace_file(folder / "results.csv", to_csv(study))
    parquet = to_parquet(study)
    if parquet is None:
        (folder / "results.parquet").unlink(missing_ok=True)  # of an earlier report, which had pyarrow
    else:
        replace_file(folder / "results.parquet", parquet)
    replace_file(folder / "results.tex", to_latex(study))
    replace_file(folder / "report.md", to_markdown(study, charts))
    replace_file(folder / REPORT, encode(to_html(study, charts, fronts_of(study))))


def fronts_of(study: Study) -> dict[tuple[str, str], set[str]]:
    """Find the arms that no other beats, by the names of the two numbers (across, up) that the page can draw.

    There is no front where one of the two is neither better high nor better low. Scores of former texts are on none.
    """
    study = study.current
    found: dict[tuple[str, str], set[str]] = {}
    for up in present(qualities(study), study.decoded):
        for across in present(totals(study), study.decoded):
            if not up.better.way or not across.better.way:
                found[across.name, up.name] = set()
                continue
            known = [arm for arm in study.decoded if up.is_known(arm) and across.is_known(arm)]
            objectives = [Objective(one.name, one.better.way, one.form or decimals(one.digits)) for one in (across, up)]
            numbers = [{one.name: one.value_of(arm) for one in (across, up)} for arm in known]
            beaten = dominators(numbers, objectives)
            found[across.name, up.name] = {arm.label for arm, by in zip(known, beaten, strict=True) if by is None}
    return found
