"""`python -m cdeval.bench`: the engine against its peers on this machine, as ratios."""

from cdeval.bench.config import BenchRun, validate_bench
from cdeval.bench.runner import run_bench
from cdeval.bench.table import goals_table, group_table
from cdeval.cli import Schema, plain_dict, run_schema
from cdeval.store.screen import Screen


def bench(config: BenchRun) -> None:
    """Print each group's table to the standard output as soon as it is timed, then the goals."""
    progress = Screen(errors=True)
    console = Screen()
    report = run_bench(
        config,
        plain_dict(config),
        say=progress.say,
        show=lambda result: console.print(group_table(result), "\n"),
    )
    if report.goals:
        console.print(goals_table(report.goals, report.notes))
    else:
        for note in report.notes:
            console.say(f"  {note}")
    console.say(f"  results: {report.folder}")


if __name__ == "__main__":
    run_schema(bench, Schema(BenchRun, validate_bench), config_name="bench")
