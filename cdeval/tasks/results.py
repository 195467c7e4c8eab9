"""The results of the command, as it shows and writes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cdeval.records import Comparison, Estimate


class TaskRow(NamedTuple):
    """One arm on one task."""

    arm: str
    task: str
    items: int
    scores: Mapping[str, Estimate]  # by lm_eval's names
    flops: float  # an item; NaN: not known
    seconds: float  # an item, of batches


class TasksResult(NamedTuple):
    """What the command shows and writes."""

    rows: Sequence[TaskRow]
    comparisons: Sequence[Comparison]
    notes: Sequence[str]
    folder: Path
