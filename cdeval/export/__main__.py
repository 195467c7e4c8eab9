"""`python -m cdeval.export arm=early_exit out=mine`: a setting as a folder for `generate` of transformers."""

from cdeval.cli import Schema, run_schema
from cdeval.export.config import ExportRun, validate_export
from cdeval.store.screen import Screen


def export(config: ExportRun) -> None:
    """Write the folder and say how it is used; progress goes to the error output."""
    from cdeval.export.pipeline import write_export  # noqa: PLC0415 - torch takes seconds; --help must not

    console = Screen()
    for line in write_export(config, Screen(errors=True).say):
        console.say(f"  {line}")


if __name__ == "__main__":
    run_schema(export, Schema(ExportRun, validate_export), config_name="export")
