"""`python -m cdeval.run`: settings beside their controls, from prompts to a table."""

from collections.abc import Sequence

from cdeval.cli import plain_dict, run_command
from cdeval.config.enums import Weights
from cdeval.config.schema import RunConfig
from cdeval.errors import CdevalError
from cdeval.report.differences import differences_tables
from cdeval.report.studyfiles import REPORT
from cdeval.report.table import results_table
from cdeval.store.screen import Screen


def run(configs: Sequence[RunConfig]) -> list[CdevalError]:
    """Run the studies of these settings and print their tables to the standard output, all else to the error output.

    Returns: what went wrong with some of them; the others are done.
    """
    # torch and transformers take seconds; --help must not.
    from cdeval.study.open import Asked  # noqa: PLC0415
    from cdeval.study.pipeline import run_study  # noqa: PLC0415
    from cdeval.study.sweeps import merged, studies  # noqa: PLC0415
    from cdeval.study.weightless import run_weightless  # noqa: PLC0415

    progress = Screen(errors=True)

    outcomes, failures = [], []
    for places in studies(configs):
        asked = [Asked(configs[place], plain_dict(configs[place])) for place in places]
        try:
            study = run_weightless if asked[0].config.expert.weights is Weights.random else run_study
            outcomes.append(study(asked, say=_nothing if asked[0].config.tracking.quiet else progress.say))
        except CdevalError as error:  # the other studies go on; all messages come at the end
            failures.append(error)
    console = Screen()
    for outcome in merged(outcomes):
        failures += outcome.failures
        console.print(results_table(outcome.rows, title=f"study {outcome.folder.name}"))
        for differences in differences_tables(outcome.comparisons):
            console.print(differences)
        for line in (*outcome.notes, f"results: {outcome.folder}", f"to look at: {outcome.folder / REPORT}"):
            console.say(f"  {line}")
    return failures


def _nothing(_line: str) -> None:
    """What a quiet command says while it works."""


if __name__ == "__main__":
    run_command(run)
