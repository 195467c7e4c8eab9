"""Files for other programs hold every number of the summaries, and no sign that they would read as their own."""

import csv
import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cdeval.report.charts import charts_of
from cdeval.report.exports import to_csv, to_latex, to_markdown, to_parquet
from cdeval.report.studyfiles import Study, read_study
from tests.report.studies import write_study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return read_study(write_study(tmp_path / "s"))


def test_csv_and_parquet_hold_every_number_and_setting(study: Study) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(study).decode())))
    table = pq.read_table(io.BytesIO(to_parquet(study))).to_pylist()
    assert len(rows) == len(table) == 4
    for arm, text, typed in zip(study.arms, rows, table, strict=True):
        assert text["label"] == typed["label"] == arm.label
        for name, value in arm.summary.items():
            assert float(text[name]) == typed[name] == value
    assert [row["amateur.layer"] for row in table] == [4.0, 8.0, None, None]
    assert rows[3]["flops_per_token"] == "", "what is missing is empty, not 0"


def test_latex_is_a_whole_tabular_without_live_signs(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s")
    shown = (folder / "shown.json").read_text().replace("expert alone", "50% a_b & #1 {c} ~ \\\\input")
    (folder / "shown.json").write_text(shown)
    text = to_latex(read_study(folder)).decode()
    assert r"50\% a\_b \& \#1 \{c\} \textasciitilde{} \textbackslash{}input" in text
    lines = text.splitlines()
    cells = {line.replace(r"\&", "").count("&") for line in lines if line.endswith(r"\\")}
    assert cells == {6}, "every row has as many cells as the heading"
    assert r"$\alpha$=0.1" in text


def test_markdown_names_pictures_that_exist(study: Study) -> None:
    charts = charts_of(study)
    text = to_markdown(study, charts).decode()
    assert all(f"(figures/{chart.name}.png)" in text for chart in charts)
    assert "made by hand" in text
    assert "more diverse" in text
