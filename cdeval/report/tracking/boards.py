"""A study as W&B shows it: tables of results and comparisons, all pictures, and the report's files as an artifact."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cdeval.report.exports import records
from cdeval.report.studyfiles import REPORT, Study, read_study
from cdeval.report.tracking.runs import Mirrored, WandbTable, tags_of
from cdeval.store.strict_json import parse

_FILES = (REPORT, "report.md", "table.md", "results.csv", "results.parquet", "results.tex")
_COMPARED = ("metric", "arm", "against", "difference", "low", "high", "p", "p_holm", "detectable", "prompts")


def beginning_study_run(folder: Path, tags: Sequence[str] = ()) -> Mirrored:
    """The run of a study of which nothing is finished yet."""
    name = folder.name
    return Mirrored(name, name, "study", folder, {"study": name}, {}, {}, tags=tags_of(*tags))


def study_run(folder: Path, tags: Sequence[str] = ()) -> Mirrored:
    """The run of a study, from the files that its report is made of and the report's own.

    Raises: StorageError: there is no finished run, or a file is broken.
    """
    study = read_study(folder)
    lens = folder.parent / "lens"  # where `python -m cdeval.lens` puts what it measured and drew
    pictures = {f"figures/{path.stem}": path for path in sorted((folder / "figures").glob("*.png"))}
    pictures |= {f"lens/{path.stem}": path for path in sorted(lens.glob("*.png"))}
    return beginning_study_run(folder, tags)._replace(
        config={"study": study.name, "arms": [arm.label for arm in study.arms]},
        summary={"arms": float(len(study.arms))},
        tables={"results": _results(study), "comparisons": _comparisons(study), **_lenses(lens)},
        pictures=pictures,
        files=[path for path in (folder / name for name in _FILES) if path.is_file()],
    )


def _results(study: Study) -> WandbTable:
    """A row an arm: every number of its summary, its scores with the ends of their intervals."""
    rows: list[dict[str, Any]] = []
    for arm, record in zip(study.arms, records(study), strict=True):
        ends = {f"{name}_{end}": getattr(score, end) for name, score in arm.scores.items() for end in ("low", "high")}
        rows.append({**ends, **record})
    names = list(dict.fromkeys([*records(study)[0], *(name for row in rows for name in row)]))
    return WandbTable(names, [[row.get(name) for name in names] for row in rows])


def _comparisons(study: Study) -> WandbTable:
    rows = [
        [
            *(one.metric, one.arm, one.against, one.difference.value, one.difference.low, one.difference.high),
            *(one.p, one.p_holm, one.detectable, one.difference.n),
        ]
        for one in study.comparisons
    ]
    return WandbTable(_COMPARED, rows)


def _lenses(folder: Path) -> dict[str, WandbTable]:
    """Collect what `python -m cdeval.lens` measured, a table a file; other JSON that lies there is left out."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            scores = parse(path.read_bytes())["scores"]
            rows = [
                {name: value for name, value in score.items() if not isinstance(value, Mapping)} for score in scores
            ]
            columns = list(rows[0])
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
        found[f"lens/{path.stem}"] = WandbTable(columns, [[row.get(name) for name in columns] for row in rows])
    return found
