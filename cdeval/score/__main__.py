"""`python -m cdeval.score generations=FILE`: texts that exist already, from files to a table; and what people say."""

from cdeval.cli import Schema, plain_dict, run_schema
from cdeval.errors import together
from cdeval.report.differences import differences_tables
from cdeval.report.table import results_table
from cdeval.score.config import Export, ScoreConfig, validate_score
from cdeval.store.screen import Screen


def score(config: ScoreConfig) -> None:
    """Score texts, write pairs for people, or read their votes; results to the standard output."""
    progress = Screen(errors=True)
    console = Screen()

    def show(line: str) -> None:
        console.say(f"  {line}")

    if config.export is Export.pairs or config.votes:
        from cdeval.score.raters.study import export_pairs, read_votes  # noqa: PLC0415 - needs no model, and no seconds

        lines = read_votes(config) if config.votes else export_pairs(config)
        for line in lines:
            show(line)
        return
    from cdeval.score.pipeline import score_texts  # noqa: PLC0415 - torch and transformers take seconds; --help must not

    outcome = score_texts(config, plain_dict(config), progress.say)
    for number, group in enumerate(outcome.groups):
        title = f"scores of {config.study}" if number == 0 and config.out is None else "scores" if number == 0 else ""
        console.print(results_table(outcome.rows, title=title, columns=group))
    for differences in differences_tables(outcome.comparisons):
        console.print(differences)
    for note in outcome.notes:
        show(note)
    show(f"results: {outcome.folder}")
    if outcome.failures:
        raise together(outcome.failures)


if __name__ == "__main__":
    run_schema(score, Schema(ScoreConfig, validate_score), config_name="score")
