"""`python -m cdeval.trace prompt="…"`: one generation, token by token."""

import sys

from rich.console import Console

from cdeval.cli import Schema, literal, run_schema
from cdeval.reporting.trace import summary, trace_table, write_trace
from cdeval.traceconfig import TraceRun, validate_trace


def trace(config: TraceRun) -> None:
    """Print the steps to the standard output and write the page; all else to the error output."""
    from cdeval.tracing import read_trace  # noqa: PLC0415 - torch and transformers take seconds; --help must not

    progress = Console(stderr=True, highlight=False)
    found, page = read_trace(config, lambda line: progress.print(line, markup=False, soft_wrap=True))
    console = Console(file=sys.stdout)
    console.print(trace_table(found))
    for line in (summary(found), *(f"to look at: {path}" for path in write_trace(found, page))):
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.argv[1:] = [literal(argument, "prompt") for argument in sys.argv[1:]]
    run_schema(trace, Schema(TraceRun, validate_trace), config_name="trace")
