"""`python -m cdeval.compare studies=[runs/mine,docs/study/study_news.json]`: is this the same study?"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from cdeval.cli import Schema, run_schema
from cdeval.compareconfig import PAIR, CompareRun, validate_compare
from cdeval.comparing import Likeness, compare, read_record, write_record
from cdeval.errors import StorageError
from cdeval.escaping import printable
from cdeval.screen import Screen


def compare_studies(config: CompareRun) -> None:
    """Print how alike they are to the standard output; exit with 1 where anything differs.

    A study whose texts are other ones than when they were scored is the same as none, and makes no record.

    Raises: StorageError: a study or a record cannot be read or written.
    """
    console = Screen()
    changed: list[str] = []
    records = [read_record(Path(path), changed.append) for path in config.studies]
    for line in changed:
        console.say(f"  {line}")
    if changed and config.record is not None:
        raise StorageError(
            f"record={config.record}: not written, because scores in it would be of other texts: {changed[0]}."
        )
    if config.record is not None:
        write_record(records[0], Path(config.record))
        console.say(f"  record: {config.record}")
    if len(records) < PAIR:
        return
    found = compare(*records)
    console.print(_table(found))
    same = all(arm.same for arm in found)
    if changed and same:
        console.say("  they may differ: what is left of them is the same, but some scores are of texts that are gone")
    else:
        console.say(f"  {_verdict(found)}")
    if changed or not same:
        sys.exit(1)


def _table(found: Sequence[Likeness]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("arm", overflow="fold")
    for header in ("same texts", "same numbers"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("furthest apart", overflow="fold")
    for arm in found:
        table.add_row(
            Text(printable(arm.label)),
            f"{arm.same_texts} of {arm.texts}",
            f"{arm.same_numbers} of {arm.numbers}",
            "" if arm.furthest is None else Text(printable(f"{arm.furthest[0]}: {arm.furthest[1]:.1%}")),
        )
    return table


def _verdict(found: Sequence[Likeness]) -> str:
    texts, numbers = sum(arm.texts for arm in found), sum(arm.numbers for arm in found)
    if all(arm.same for arm in found):
        return f"the same study: {texts} texts and {numbers} numbers, timings aside"
    same_texts, same_numbers = sum(arm.same_texts for arm in found), sum(arm.same_numbers for arm in found)
    return (
        f"they differ: {same_texts} of {texts} texts and {same_numbers} of {numbers} numbers are the same. "
        "bfloat16 texts belong to a processor, a number of threads and a plan of batches; float32 ones hardly ever do"
    )


if __name__ == "__main__":
    run_schema(compare_studies, Schema(CompareRun, validate_compare), config_name="compare")
