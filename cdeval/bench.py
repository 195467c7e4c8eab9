"""`python -m cdeval.bench`: the engine against its peers on this machine, as ratios."""

import sys

from rich.console import Console

from cdeval.benchmark.config import BenchRun, validate_bench
from cdeval.benchmark.runner import run_bench
from cdeval.benchmark.table import goals_table, group_table
from cdeval.cli import Schema, plain_dict, run_schema


def bench(config: BenchRun) -> None:
    """Print each group's table to the standard output as soon as it is timed, then the goals."""
    progress = Console(stderr=True, highlight=False)
    console = Console(file=sys.stdout)
    report = run_bench(
        config,
        plain_dict(config),
        say=lambda line: progress.print(line, markup=False, soft_wrap=True),
        show=lambda result: console.print(group_table(result), "\n"),
    )
    console.print(goals_table(report.goals, report.notes))
    console.print(f"  results: {report.folder}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    run_schema(bench, Schema(BenchRun, validate_bench), config_name="bench")
