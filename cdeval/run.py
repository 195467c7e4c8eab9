"""`python -m cdeval.run` runs settings beside their controls, from prompts to a table."""

from collections.abc import Sequence

from cdeval.cli import plain_dict, run_command
from cdeval.config.enums import Weights
from cdeval.config.schema import RunConfig
from cdeval.errors import CdevalError
from cdeval.report.tracking.given import check_target
from cdeval.store.progress import say_nothing
from cdeval.store.screen import Screen


def run(configs: Sequence[RunConfig]) -> list[CdevalError]:
    """Run the studies of these settings and print their tables to the standard output, all else to the error output.

    Returns: the errors of the settings that failed; the others are done.
    """
    # torch, transformers and scipy take seconds; --help and what a mistyped setting is told must not.
    from cdeval.report.screen import Results, show  # noqa: PLC0415
    from cdeval.report.studyfiles import REPORT  # noqa: PLC0415
    from cdeval.report.table import chosen_columns  # noqa: PLC0415
    from cdeval.study.open import StudyRequest, group_by_study  # noqa: PLC0415
    from cdeval.study.pipeline import run_study  # noqa: PLC0415
    from cdeval.study.results import merged  # noqa: PLC0415
    from cdeval.study.weightless import run_weightless  # noqa: PLC0415

    for config in configs:
        check_target(config.tracking, len(configs))
    progress = Screen(errors=True)

    results, failures = [], []
    for places in group_by_study(configs):
        requests = [StudyRequest(configs[place], plain_dict(configs[place])) for place in places]
        common = requests[0].config
        run_one = run_weightless if common.expert.weights is Weights.random else run_study
        try:
            results.append(run_one(requests, say=say_nothing if common.tracking.quiet else progress.say))
        except CdevalError as error:  # the other studies go on; all messages come at the end
            failures.append(error)
    console = Screen()
    for result in merged(results):
        failures += result.failures
        shown = Results(
            name=f"study {result.folder.name}",
            rows=result.rows,
            columns=chosen_columns(result.rows, result.only),
            comparisons=result.comparisons,
            notes=result.notes,
            places=[f"to look at: {result.folder / REPORT}"],
            verdict=result.verdict,
        )
        show(shown, configs[0].notes, console)
        for line in result.warnings:
            progress.say(line)
    return failures


if __name__ == "__main__":
    run_command(run)
