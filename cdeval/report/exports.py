"""A study's numbers for other programs and for papers: CSV, Parquet, LaTeX, Markdown."""

import io
import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import pandas as pd

from cdeval.config.words import in_words
from cdeval.report.answer import asked_metrics, findings
from cdeval.report.charts import Chart
from cdeval.report.differences import differences_markdown
from cdeval.report.measures import present, totals
from cdeval.report.sections import cell
from cdeval.report.studyfiles import Arm, Study
from cdeval.report.summary import flops_unknown
from cdeval.report.table import markdown_table
from cdeval.store.escaping import markdown, spreadsheet, tex
from cdeval.store.private import masked_all


def records(study: Study) -> list[dict[str, Any]]:
    """List a row an arm: what it is, its setting as it is typed, every number of its summary. Missing is None."""
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
        **({"unknown": reason} if (reason := flops_unknown(arm.setting, arm.summary)) else {}),
        **{name: _cell(value) for name, value in in_words(arm.setting).items()},
        **numbers,
    }


def _cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def to_csv(study: Study) -> bytes:
    """Write the records with a header; what is missing is empty, and no text is a formula. UTF-8."""
    rows = [{name: _plain(value) for name, value in row.items()} for row in records(study)]
    frame = pd.DataFrame(rows, dtype=object).rename(columns=_plain)
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text.encode("utf-8", "backslashreplace")


def _plain(value: Any) -> Any:
    """A cell that no spreadsheet calculates. A carriage return would end the row: Python's csv does not quote it."""
    return spreadsheet(value).replace("\r", "\n") if isinstance(value, str) else value


def to_parquet(study: Study) -> bytes | None:
    """Write the same table with its types; a column that mixes them holds texts. None without pyarrow, an extra."""
    if find_spec("pyarrow") is None:
        return None
    buffer = io.BytesIO()
    pd.DataFrame(records(study), dtype=object).apply(_typed).to_parquet(buffer, index=False)
    return buffer.getvalue()


def _typed(column: "pd.Series[Any]") -> "pd.Series[Any]":
    kinds = set(map(type, column.dropna()))
    if kinds <= {int, float}:
        return column.astype("float64")
    return column.astype("boolean" if kinds == {bool} else "string")


def to_latex(study: Study) -> bytes:
    """Write a tabular with booktabs' rules; intervals and overheads in brackets."""
    measures = present(totals(study), study.arms)
    rows = []
    for arm, row in zip(study.arms, study.rows, strict=True):
        shown = [cell(measure, arm) for measure in measures]
        rows.append([row.label + row.mark, *(f"{value} ({detail})" if detail else value for value, detail in shown)])
    frame = pd.DataFrame(rows, columns=["", *(tex(measure.heading) for measure in measures)]).map(tex)
    text = frame.to_latex(index=False, escape=False, column_format=f"l{'r' * len(measures)}")
    return f"% needs booktabs\n{text}".encode("utf-8", "backslashreplace")


def to_markdown(study: Study, charts: Sequence[Chart]) -> bytes:
    """Write verdict, pictures, tables and notes, for places that show Markdown and no HTML."""
    pictures = "\n".join(f"![{markdown(chart.title)}](figures/{chart.name}.png)" for chart in charts)
    parts = [
        f"# {markdown(study.name)}",
        *(markdown(line) for line in findings(study)),
        pictures,
        markdown_table(study.rows, study.notes, only=asked_metrics(study)),
        differences_markdown(study.comparisons, study.families),
    ]
    return "\n\n".join(part for part in parts if part).encode("utf-8", "backslashreplace")
