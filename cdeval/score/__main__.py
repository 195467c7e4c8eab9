"""`python -m cdeval.score generations=FILE`: texts that exist already, from files to a table; and what people say."""

from cdeval.cli import Schema, plain_dict, run_schema
from cdeval.errors import together
from cdeval.report.screen import Results, show
from cdeval.report.studyfiles import REPORT
from cdeval.score.config import Export, ScoreConfig, validate_score
from cdeval.store.screen import Screen


def score(config: ScoreConfig) -> None:
    """Score texts, write pairs for people, or read their votes; results to the standard output."""
    progress = Screen(errors=True)
    console = Screen()

    if config.export is Export.pairs or config.votes:
        from cdeval.score.raters.study import export_pairs, read_votes  # noqa: PLC0415 - needs no model, and no seconds

        lines = read_votes(config) if config.votes else export_pairs(config)
        for line in lines:
            console.say(f"  {line}")
        return
    from cdeval.score.pipeline import score_texts  # noqa: PLC0415 - torch and transformers take seconds; --help must not

    outcome = score_texts(config, plain_dict(config), progress.say)
    shown = Results(
        name=f"scores of {config.study}" if config.out is None else "scores",
        rows=outcome.rows,
        columns=[column for group in outcome.groups for column in group],
        comparisons=outcome.comparisons,
        notes=outcome.notes,
        warnings=outcome.warnings,
        places=[f"results: {outcome.folder}", f"to look at: {outcome.folder / REPORT}"],
    )
    show(shown, config.notes, console)
    if outcome.failures:
        raise together(outcome.failures)


if __name__ == "__main__":
    run_schema(score, Schema(ScoreConfig, validate_score), config_name="score")
