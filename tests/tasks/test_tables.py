"""What `cdeval.tasks` shows of its numbers: every one with its interval, what is not known as a dash, names as text."""

import io
import math
from pathlib import Path

from rich.console import Console

from cdeval.records import Comparison, Estimate
from cdeval.report.table import MISSING
from cdeval.tasks.results import TaskRow, TasksResult
from cdeval.tasks.tables import markdown_tables, task_tables

NAN = math.nan
ACCURACY = Estimate(0.65, 0.45, 0.8, 20, 0)
UNKNOWN = Estimate(NAN, NAN, NAN, 0, 20)


def result() -> TasksResult:
    rows = [
        TaskRow("exit [k=24] | linear", "tiny_mc", 20, {"acc": ACCURACY, "acc_norm": UNKNOWN}, 1.5e9, 0.25),
        TaskRow("expert alone", "tiny_mc", 20, {"acc": Estimate(0.5, NAN, NAN, 20, 0)}, NAN, NAN),
        TaskRow("expert alone", "tiny_gen", 20, {"exact_match": ACCURACY}, 3e9, 0.5),
    ]
    of_choices = Comparison(
        "tiny_mc: acc", rows[0].arm, rows[1].arm, Estimate(0.15, -0.05, 0.35, 20, 0), 0.25, 0.5, 0.2
    )
    of_texts = Comparison("tiny_gen: exact_match", rows[0].arm, rows[1].arm, UNKNOWN, NAN, NAN, NAN)
    return TasksResult(rows, [of_choices, of_texts], ["20 items | of two tasks"], Path("runs/tasks"))


def test_a_table_a_task_and_one_of_differences() -> None:
    tables = task_tables(result())
    assert [str(table.title) for table in tables] == ["tiny_mc", "tiny_gen", "differences from expert alone"]
    page = io.StringIO()
    for table in tables:
        Console(file=page, width=140).print(table)
    lines = [line.split() for line in page.getvalue().splitlines()]
    exit_line = next(line for line in lines if line[:2] == ["exit", "[k=24]"])
    assert exit_line[4:] == ["0.650", "(0.450–0.800)", MISSING, "20", "1.5", "250"]
    alone = next(line for line in lines if line[:2] == ["expert", "alone"])
    assert alone[2:] == ["0.500", MISSING, "20", MISSING, MISSING]
    (difference,) = [line for line in lines if "+0.150" in line]
    assert difference[-6:] == ["+0.150", "-0.050", "to", "+0.350", "0.250", "0.500"]
    (unknown,) = [line for line in lines if "exact_match" in line and "tiny_gen:" in line]
    assert unknown[-4:] == [MISSING] * 4


def test_the_same_as_github_tables() -> None:
    """A bar in a name would be a column more."""
    page = markdown_tables(result())
    rows = [line for line in page.splitlines() if line.startswith("| exit")]
    assert len(rows) == 3
    widths = {len(line.replace("\\|", "").split("|")) for line in rows}
    assert widths == {len(["", " arm ", " acc ", " acc_norm ", " items ", " GFLOPs an item ", " ms an item ", ""])}
    assert page.count("| --- |") == 3
    assert page.rstrip().endswith("of two tasks")
