"""`python -m cdeval.run` runs settings beside their controls, from prompts to a table."""

from collections.abc import Sequence

from cdeval.cli import plain_dict, run_command
from cdeval.config.enums import Weights
from cdeval.config.schema import RunConfig
from cdeval.errors import CdevalError
from cdeval.report.differences import differences_tables
from cdeval.report.studyfiles import REPORT
from cdeval.report.table import filled, plugged_columns, results_table
from cdeval.store.screen import Screen


def run(configs: Sequence[RunConfig]) -> list[CdevalError]:
    """Run the studies of these settings and print their tables to the standard output, all else to the error output.

    Returns: the errors of the settings that failed; the others are done.
    """
    # torch and transformers take seconds; --help must not.
    from cdeval.study.open import StudyRequest, group_by_study  # noqa: PLC0415
    from cdeval.study.pipeline import run_study  # noqa: PLC0415
    from cdeval.study.results import merged  # noqa: PLC0415
    from cdeval.study.weightless import run_weightless  # noqa: PLC0415

    progress = Screen(errors=True)

    results, failures = [], []
    for places in group_by_study(configs):
        requests = [StudyRequest(configs[place], plain_dict(configs[place])) for place in places]
        common = requests[0].config
        run_one = run_weightless if common.expert.weights is Weights.random else run_study
        try:
            results.append(run_one(requests, say=_say_nothing if common.tracking.quiet else progress.say))
        except CdevalError as error:  # the other studies go on; all messages come at the end
            failures.append(error)
    console = Screen()
    for result in merged(results):
        failures += result.failures
        console.print(results_table(result.rows, title=f"study {result.folder.name}"))
        if own := filled(result.rows, plugged_columns(result.rows)):
            console.print(results_table(result.rows, title="metrics of plug-ins", columns=own))
        for differences in differences_tables(result.comparisons):
            console.print(differences)
        for line in (*result.notes, f"results: {result.folder}", f"to look at: {result.folder / REPORT}"):
            console.say(f"  {line}")
    return failures


def _say_nothing(_line: str) -> None:
    """Take a line of progress from a command that is to be quiet."""


if __name__ == "__main__":
    run_command(run)
