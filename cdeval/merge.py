"""`python -m cdeval.merge studies=[a/runs/x,b/runs/x] into=runs/all`: run folders of several machines as one study."""

from pathlib import Path

from cdeval.cli import Schema, run_schema
from cdeval.mergeconfig import MergeConfig, validate_merge
from cdeval.merging import merge_studies
from cdeval.screen import Screen


def merge(config: MergeConfig) -> None:
    """Merge, and say what came of it on the standard output."""
    into = Path(str(config.into))
    merged = merge_studies([Path(path) for path in config.studies], into)
    console = Screen()
    for point in merged:
        line = f"  {point.folder}: {point.texts} texts, {point.added} of them new"
        console.say(line)
    line = f"  {into}: for its table run cdeval.run as before with runs={into.parent} study={into.name}"
    console.say(line)


if __name__ == "__main__":
    run_schema(merge, Schema(MergeConfig, validate_merge), config_name="merge")
