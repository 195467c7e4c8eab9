"""`python -m cdeval.judge`: pairs of texts judged by a model, and how far it and every metric agree with people."""

from pathlib import Path

from cdeval.cli import Schema, plain_dict, run_schema
from cdeval.judge.config import JudgeRun, validate_judge
from cdeval.judge.rated import read_rated
from cdeval.judge.tables import judge_lines
from cdeval.score.arms import collect
from cdeval.store.screen import Screen


def judge(config: JudgeRun) -> None:
    """Print the tables to the standard output, everything else to the error output."""
    path = config.calibration.path
    rated = [] if path is None else read_rated(Path(path), config.calibration.limit)
    collection = collect(config.generations, config.labels, config.fields) if config.generations else None
    # torch and transformers take seconds; --help and mistakes must not.
    from cdeval.judge.pipeline import GivenTexts, run_judge  # noqa: PLC0415

    progress, console = Screen(errors=True), Screen()
    found = run_judge(config, plain_dict(config), GivenTexts(rated, collection), progress.say)
    for line in judge_lines(found, console.width):
        console.say(line)
    console.say(f"results: {found.folder}")


if __name__ == "__main__":
    run_schema(judge, Schema(JudgeRun, validate_judge), config_name="judge")
