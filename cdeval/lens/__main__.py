"""`python -m cdeval.lens`: what each layer of a model already knows, through each lens; trains tuned lenses."""

from collections.abc import Callable

from cdeval.cli import Schema, plain_dict, run_schema
from cdeval.lens.config import LensRun, validate_lens
from cdeval.lens.tables import contrast_tables, lens_table
from cdeval.report.drafting import drafting_tables
from cdeval.store.screen import Screen


def lens(config: LensRun) -> None:
    """Print the table to the standard output, everything else to the error output."""
    from cdeval.lens.pipeline import run_lens  # noqa: PLC0415 - torch and transformers take seconds; --help must not

    progress = Screen(errors=True)
    if config.prompt is not None:
        _picture(config, progress.say)
        return
    if config.study is not None:
        _held_against(config, progress.say)
        return
    if config.prune.blocks is not None:
        _pruned(config, progress.say)
        return
    outcome = run_lens(config, plain_dict(config), say=progress.say)
    console = Screen()
    console.print(lens_table(outcome.scores))
    for table in contrast_tables(outcome.scores, (config.alpha, config.beta, config.temperature)):
        console.print(table)
    for table in drafting_tables(outcome.drafting, "would drafting pay?"):
        console.print(table)
    for note in outcome.notes:
        console.say(f"  {note}")
    console.say(f"  results: {outcome.scores_file}")


def _held_against(config: LensRun, say: Callable[[str], None]) -> None:
    """Print how well the margins rank a study's settings."""
    from cdeval.lens.predict import predict  # noqa: PLC0415
    from cdeval.lens.tables import prediction_table, rank_table  # noqa: PLC0415

    found = predict(config, say)
    console = Screen()
    console.print(prediction_table(found.settings))
    console.print(rank_table(found.ranks))
    console.say(f"  {found.passages} passages, {found.prompts} prompts")
    console.say(f"  results: {found.file}")


def _pruned(config: LensRun, say: Callable[[str], None]) -> None:
    """Print which blocks are best left out, and the settings to type."""
    from cdeval.lens.pipeline import run_prune  # noqa: PLC0415
    from cdeval.lens.tables import prune_table  # noqa: PLC0415

    found = run_prune(config, plain_dict(config), say)
    console = Screen()
    console.print(prune_table(found.steps, found.held_out))
    for note in found.notes:
        console.say(f"  {note}")
    console.say(f"  results: {found.file}")


def _picture(config: LensRun, say: Callable[[str], None]) -> None:
    """Write the picture of one prompt; its files' names to the standard output."""
    from cdeval.lens.page import write_trajectory  # noqa: PLC0415
    from cdeval.lens.pipeline import read_prompt  # noqa: PLC0415

    console = Screen()
    for path in write_trajectory(*read_prompt(config, say)):
        console.say(f"  to look at: {path}")


if __name__ == "__main__":
    run_schema(lens, Schema(LensRun, validate_lens), config_name="lens")
