"""Scores held against the texts that are stored now: what was scored may have been changed or lost since."""

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from cdeval.metrics.scorefile import read_scores, texts_digest
from cdeval.records import Generation

MARK = "‡"


class Former(NamedTuple):
    """The scores of an arm that were made of other texts than those that are stored now; none if `metrics` is empty."""

    metrics: frozenset[str] = frozenset()
    how: str = ""  # the texts differ


NOTHING = Former()


def former_scores(folder: Path, scores: Collection[str], texts: Sequence[Generation], counted: float) -> Former:
    """Find the scores of an arm that were made of other texts than those that are stored now.

    Args:
        folder: the run folder.
        scores: the metrics that the arm has.
        texts: that are stored.
        counted: texts that were scored, as the summary has it; NaN: it does not say.
    """
    kept = read_scores(folder).scores
    content = texts_digest(texts) if kept else ""
    otherwise = math.isfinite(counted) and counted != len(texts)
    metrics = frozenset(name for name in scores if (kept[name].texts != content if name in kept else otherwise))
    if not metrics:
        return NOTHING
    how = f"{len(texts)} of {counted:.0f} texts are left" if otherwise else "texts have been changed"
    return Former(metrics, how)


def former_line(label: str, former: Former) -> str:
    """Write the line that warns a reader of the arm's numbers."""
    names = ", ".join(sorted(former.metrics))
    return (
        f"{MARK} '{label}': {former.how} since it was scored. Its {names} are of the former texts and are compared "
        "with nobody: run the command that made it once more"
    )
