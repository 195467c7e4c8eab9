"""A plug-in's metric is shown, ranked and weighed wherever cdeval's own are, with its plug-in and without it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdeval import metric
from cdeval.config.metrics import METRICS
from cdeval.metrics.registry import Better
from cdeval.report.answer import findings
from cdeval.report.differences import differences_markdown
from cdeval.report.measures import qualities, ways
from cdeval.report.pareto import objectives_of
from cdeval.report.publish import fronts_of, write_report
from cdeval.report.studyfiles import read_study
from cdeval.report.table import Row, cells_of, markdown_table, plugged_columns, score_groups
from tests.report.studies import comparison, write_study

EXIT = "early_exit k=4 α=0.1 β=1 T=1, beam 5"
FACTS = {"label": "word length", "unit": "letters", "better": "lower", "digits": 2}
COST = {"flops_per_token": 1.0}


@pytest.fixture(params=[True, False], ids=["loaded", "not loaded"])
def loaded(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the plug-in is loaded, or the study's files alone know the metric."""
    METRICS.every()
    if request.param:
        metric("word_length", **FACTS)(lambda text: len(text) / (1 + text.count(" ")))
    yield request.param
    METRICS.forget("word_length")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study whose control, but no other arm, has the shortest words."""
    study = write_study(tmp_path / "s", layers=(4, 8))
    for place, path in enumerate(sorted(study.glob("*/metrics.json"))):
        value = {"value": 4.0 + place / 8, "low": 3.5, "high": 4.5, "n": 3, "missing": 0, "note": "mean over texts"}
        path.write_text(json.dumps({**json.loads(path.read_text()), "word_length": {**value, "metric": FACTS}}))
        summary = path.with_name("summary.json")
        summary.write_text(json.dumps({**json.loads(summary.read_text()), "word_length": value["value"]}))
    (study / "comparisons.json").write_text(
        json.dumps([{**comparison(EXIT, "word_length"), "p": 0.001, "p_holm": 0.001}])
    )
    return study


@pytest.mark.usefixtures("loaded")
def test_tables_pages_and_comparisons_show_it(folder: Path) -> None:
    study = read_study(folder)
    (measure,) = [one for one in qualities(study) if one.name == "word_length"]
    assert (measure.heading, measure.better) == ("word length [letters] ↓", Better.lower)
    (column,) = plugged_columns(study.rows)
    assert column.header == "word length\nletters ↓"
    assert cells_of(study.rows[0], [column])[0].value in {"4.00", "4.12", "4.25", "4.38"}
    assert "| word length letters ↓ |" in markdown_table(study.rows)
    assert score_groups(study.rows)[-1][0].header == column.header
    assert "word_length" in differences_markdown(study.comparisons)
    page = write_report(folder).read_text("utf-8")
    assert "word length [letters] ↓" in page
    assert "word length" in (folder / "results.tex").read_text()
    assert (folder / "figures" / "word_length-by-flops_per_token.png").is_file()


@pytest.mark.usefixtures("loaded")
def test_the_front_and_the_verdict_weigh_it(folder: Path) -> None:
    study = read_study(folder)
    ranked = [one.name for one in objectives_of([{"word_length": 4.0, **COST}], study.stored)]
    assert ranked == ["word_length", "flops_per_token"]
    assert fronts_of(study)["flops_per_token", "word_length"]
    said = " ".join(findings(study))
    assert "worse in word length" in said, "the difference is above zero, and lower is better"


def test_wandb_is_told_the_direction_of_one_that_is_loaded(loaded: bool) -> None:
    assert ways().get("word_length") == (-1 if loaded else None)


def test_neither_better_nor_worse_is_said_of_what_is_only_described() -> None:
    for better in ("human", "none"):
        METRICS.every()
        metric("word_length", better=better)(lambda text: 1.0)
        assert METRICS["word_length"].heading == {"human": "word length\n≈ human", "none": "word length"}[better]
        assert "word_length" not in ways()
        assert objectives_of([{"word_length": 4.0, **COST}]) == []
        METRICS.forget("word_length")


def test_a_setting_that_a_plug_ins_metric_alone_improves_is_not_dominated() -> None:
    METRICS.every()
    rows = [
        Row("cheap", "arm", {"diversity": 0.5, "word_length": 3.0, "flops_per_token": 1.0}),
        Row("dear", "arm", {"diversity": 0.5, "word_length": 4.0, "flops_per_token": 2.0}),
    ]
    assert "| dear † |" in markdown_table(rows)
    metric("word_length", better="higher")(lambda text: 1.0)
    try:
        assert "†" not in markdown_table(rows)
    finally:
        METRICS.forget("word_length")
