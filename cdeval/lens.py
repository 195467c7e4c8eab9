"""`python -m cdeval.lens`: what each layer of a model already knows, through each lens; trains tuned lenses."""

import sys

from rich.console import Console

from cdeval.cli import Schema, plain_dict, run_schema
from cdeval.lensconfig import LensRun, validate_lens
from cdeval.reporting.lens import lens_table


def lens(config: LensRun) -> None:
    """Print the table to the standard output, everything else to the error output."""
    from cdeval.lenses.study import run_lens  # noqa: PLC0415 - torch and transformers take seconds; --help must not

    progress = Console(stderr=True, highlight=False)
    outcome = run_lens(config, plain_dict(config), say=lambda line: progress.print(line, markup=False, soft_wrap=True))
    console = Console(file=sys.stdout)
    console.print(lens_table(outcome.scores))
    for note in outcome.notes:
        console.print(f"  {note}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"  results: {outcome.scores_file}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    run_schema(lens, Schema(LensRun, validate_lens), config_name="lens")
