"""Charts are drawable: plotly knows every attribute, matplotlib writes both files, names stay names."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import plotly.graph_objects as go
import pytest

from cdeval.report.charts import Chart, Series, charts_of
from cdeval.report.drawing import plotly_of
from cdeval.report.figures import draw_files
from cdeval.report.stills import picture
from cdeval.report.studyfiles import read_study
from tests.report.studies import write_study


@pytest.fixture
def charts(tmp_path: Path) -> dict[str, Chart]:
    folder = write_study(tmp_path / "s")
    for name in ("exit-4", "exit-8"):
        (folder / name / "latency.json").write_text(json.dumps({"token_seconds": [0.01, 0.02, 0.03]}))
    return {chart.name: chart for chart in charts_of(read_study(folder))}


def test_every_kind_of_chart_is_there(charts: dict[str, Chart]) -> None:
    assert {chart.kind for chart in charts.values()} == {"points", "lines", "curves", "bars", "boxes"}
    assert {
        "diversity-by-flops_per_token",
        "coherence-by-diversity",
        "diversity-by-layer",
        "divergence",
        "latency",
        "flops",
        "memory",
    } <= set(charts)


def test_plotly_knows_what_it_is_given(charts: dict[str, Chart]) -> None:
    """go.Figure refuses an attribute or a value that plotly.js would drop in silence."""
    for chart in charts.values():
        if chart.kind != "points":
            go.Figure(plotly_of(chart))
            json.dumps(plotly_of(chart), allow_nan=False)


def test_lines_show_values_intervals_and_levels(charts: dict[str, Chart]) -> None:
    drawn = plotly_of(charts["diversity-by-layer"])
    band, line = drawn["data"]
    assert line["x"] == [4.0, 8.0]
    assert line["y"] == [0.5, 0.55]
    assert band["y"] == pytest.approx([0.55, 0.6, 0.5, 0.45])
    assert {shape["y0"] for shape in drawn["layout"]["shapes"]} == {0.9, 0.3}


def test_levels_that_lie_close_together_are_named_apart(charts: dict[str, Chart]) -> None:
    """Two truncated models at nearly the same height had their names written over each other."""
    levels = [
        Series("human", [], [0.91], dash="dot"),
        Series("expert alone", [], [0.9], dash="dash"),
        Series("truncated k=24", [], [0.9], dash="dashdot"),
        Series("truncated k=24 generated context", [], [0.9], dash="dashdot"),
    ]
    names = plotly_of(replace(charts["diversity-by-layer"], levels=levels))["layout"]["annotations"]
    assert [name["text"] for name in names] == [level.label for level in levels]
    assert len({name["x"] for name in names}) == 4


def test_memory_is_weights_cache_and_the_rest(charts: dict[str, Chart]) -> None:
    """Working memory holds the cache: counting both whole would count it twice."""
    parts = {series.label: series.x[0] for series in charts["memory"].series}
    assert parts == {"weights": 256.0, "key-value cache": 2.0, "other working memory": 2.0}


def test_without_timings_the_mean_is_shown(tmp_path: Path) -> None:
    charts = {chart.name: chart for chart in charts_of(read_study(write_study(tmp_path / "s")))}
    assert list(charts["latency"].series[0].x) == pytest.approx([9.0, 15.0, 10.0])


def test_stills_are_png_and_svg_and_the_same_every_time(charts: dict[str, Chart]) -> None:
    for chart in charts.values():
        found = picture([chart])
        assert found["png"].startswith(b"\x89PNG")
        assert b"</svg>" in found["svg"]
    chart = charts["latency"]
    assert picture([chart])["svg"] == picture([chart])["svg"], "a report that is made again is no change"


def test_a_picture_is_drawn_where_it_is_not_there_already(
    charts: dict[str, Chart], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chart, files = charts["latency"], [tmp_path / "latency.png", tmp_path / "latency.svg"]
    drawn: list[str] = []

    def counted(of: Sequence[Chart], source: str) -> dict[str, bytes]:
        drawn.append(of[0].name)
        return picture(of, source=source)

    monkeypatch.setattr("cdeval.report.stills.picture", counted)
    draw_files(chart, tmp_path)
    before = [path.read_bytes() for path in files]
    draw_files(chart, tmp_path)
    assert (drawn, [path.read_bytes() for path in files]) == (["latency"], before)
    draw_files(replace(chart, title="another"), tmp_path)
    assert len(drawn) == 2, "what is drawn has changed"
    assert files[0].read_bytes() != before[0]
    files[1].unlink()
    draw_files(replace(chart, title="another"), tmp_path)
    assert len(drawn) == 3
    assert files[1].exists()


def test_labels_are_not_read_as_markup(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s")
    shown = (folder / "shown.json").read_text().replace("expert alone", "<b>$x^{}$ %{x}")
    (folder / "shown.json").write_text(shown)
    for chart in charts_of(read_study(folder)):
        assert b"</svg>" in picture([chart])["svg"]  # matplotlib raises where it reads a broken formula
        if chart.kind in ("bars", "curves"):
            drawn = json.dumps(plotly_of(chart))
            assert '"ticktext"' not in drawn or "&lt;b>$x^{}$" in drawn
            assert "%{x} " not in json.dumps([trace["hovertemplate"] for trace in plotly_of(chart)["data"]])
