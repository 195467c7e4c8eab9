"""A study's numbers for other programs and for papers: CSV, Parquet, LaTeX, Markdown."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cdeval.report.charts import Chart
from cdeval.report.differences import differences_markdown
from cdeval.report.measures import TOTALS, present
from cdeval.report.sections import cell
from cdeval.report.studyfiles import Arm, Study
from cdeval.report.table import markdown_table
from cdeval.report.verdict import verdict
from cdeval.store.escaping import markdown, spreadsheet, tex
from cdeval.store.private import masked_all


def records(study: Study) -> list[dict[str, Any]]:
    """A row an arm: what it is, its setting as `setting.<key>`, every number of its summary. Missing is None."""
    rows = [_record(arm) for arm in study.arms]
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: masked_all(row.get(name)) for name in names} for row in rows]


def _record(arm: Arm) -> dict[str, Any]:
    numbers = {name: value if math.isfinite(value) else None for name, value in arm.summary.items()}
    former = {"of_former_texts": " ".join(sorted(arm.former.metrics))} if arm.former.metrics else {}
    return {
        "label": arm.label,
        "role": arm.role,
        "folder": arm.folder,
        **former,
        **_flat("setting", arm.setting),
        **numbers,
    }


def _flat(path: str, value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {name: item for key, inner in value.items() for name, item in _flat(f"{path}.{key}", inner).items()}
    return {path: " ".join(map(str, value)) if isinstance(value, list) else value}


def to_csv(study: Study) -> bytes:
    """With a header; what is missing is empty, and no text is a formula. UTF-8."""
    rows = records(study)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in ([*rows[0]], *([*row.values()] for row in rows)):
        # A carriage return is not quoted by Python's csv, and would end the row.
        writer.writerow([spreadsheet(cell).replace("\r", "\n") if isinstance(cell, str) else cell for cell in row])
    return buffer.getvalue().encode("utf-8", "backslashreplace")


def to_parquet(study: Study) -> bytes:
    """The same table with its types; a column that mixes them holds texts."""
    rows = records(study)
    buffer = io.BytesIO()
    pq.write_table(pa.table({name: _column([row[name] for row in rows]) for name in rows[0]}), buffer)
    return buffer.getvalue()


def _column(values: Sequence[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def to_latex(study: Study) -> bytes:
    """A tabular with booktabs' rules; intervals and overheads in brackets."""
    measures = present(TOTALS, study.arms)
    lines = [["", *(measure.heading for measure in measures)]]
    for arm, row in zip(study.arms, study.rows, strict=True):
        shown = [cell(measure, arm) for measure in measures]
        lines.append([row.label + row.mark, *(f"{value} ({detail})" if detail else value for value, detail in shown)])
    head, *body = [" & ".join(tex(text) for text in line) + r" \\" for line in lines]
    start = rf"\begin{{tabular}}{{l{'r' * len(measures)}}}"
    whole = ["% needs booktabs", start, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    return ("\n".join(whole) + "\n").encode("utf-8", "backslashreplace")


def to_markdown(study: Study, charts: Sequence[Chart]) -> bytes:
    """Verdict, pictures, tables and notes, for places that show Markdown and no HTML."""
    pictures = "\n".join(f"![{markdown(chart.title)}](figures/{chart.name}.png)" for chart in charts)
    parts = [
        f"# {markdown(study.name)}",
        *(markdown(line) for line in verdict(study)),
        pictures,
        markdown_table(study.rows, study.notes),
        differences_markdown(study.comparisons),
    ]
    return "\n\n".join(part for part in parts if part).encode("utf-8", "backslashreplace")
