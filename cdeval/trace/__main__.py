"""`python -m cdeval.trace prompt="…"`: one generation, token by token."""

from cdeval.cli import Schema, run_schema
from cdeval.store.screen import Screen
from cdeval.trace.config import TraceRun, validate_trace
from cdeval.trace.page import summary, trace_table, write_trace


def trace(config: TraceRun) -> None:
    """Print the steps to the standard output and write the page; all else to the error output."""
    from cdeval.trace.pipeline import read_trace  # noqa: PLC0415 - torch and transformers take seconds; --help must not

    progress = Screen(errors=True)
    found, page = read_trace(config, progress.say)
    console = Screen()
    console.print(trace_table(found))
    for line in (summary(found), *(f"to look at: {path}" for path in write_trace(found, page))):
        console.say(f"  {line}")


if __name__ == "__main__":
    run_schema(trace, Schema(TraceRun, validate_trace), config_name="trace")
