"""`python -m cdeval.run`: one setting beside its controls, from prompts to a table."""

import sys

from rich.console import Console

from cdeval.cli import plain_dict, run_command
from cdeval.config import RunConfig
from cdeval.reporting.differences import differences_table
from cdeval.reporting.table import results_table


def run(config: RunConfig) -> None:
    """Run the study of one setting and print its table to the standard output, everything else to the error output."""
    from cdeval.study import run_study  # noqa: PLC0415 - torch and transformers take seconds; --help must not

    progress = Console(stderr=True, highlight=False)
    outcome = run_study(config, plain_dict(config), say=lambda line: progress.print(line, markup=False, soft_wrap=True))
    console = Console(file=sys.stdout)
    console.print(results_table(outcome.rows, title=f"study {config.study}"))
    if differences := differences_table(outcome.comparisons):
        console.print(differences)
    for note in outcome.notes:
        console.print(f"  {note}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"  results: {outcome.folder}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    run_command(run)
