"""The lens command's tables, on a terminal as wide as any."""

import io

import pytest
from rich.console import Console

from cdeval.lens.tables import contrast_tables, lens_table, prediction_table, rank_table
from cdeval.records import EXPERT, Drafting, Drafts, Estimate, LensScore, MarginCorrelation, PredictedSetting
from cdeval.report.drafting import drafting_tables

NAN = float("nan")


def score(layer: int, lens: str, margin: Estimate) -> LensScore:
    wide = lens == "raw"
    nll, kl = (409.835, 383.685) if wide else (24.372, 20.303)
    return LensScore(layer, lens, nll, kl, 0.518, 4.35, 0.47, 2.8, 4096, 0.31, 0.26, margin)


def scores(**margins: float) -> list[LensScore]:
    """Of two layers, through lenses of these margins; the expert last."""
    exits = [
        score(layer, lens, Estimate(value, value - 30, value + 30, 32, 0))
        for layer in (8, 29)
        for lens, value in margins.items()
    ]
    return [*exits, score(30, EXPERT, Estimate(-3.75, -3.9, -3.6, 32, 0))]


def printed(table: object) -> str:
    page = io.StringIO()
    Console(file=page, width=80).print(table)
    return page.getvalue()


@pytest.mark.parametrize("method", ["gradient", "least_squares"])
def test_three_lenses_fit_80_columns_whole(method: str) -> None:
    """Raw logits have margins of hundreds of nats: their intervals were cut off, and with them the other columns."""
    three = scores(norm=-3.91, raw=411.03, **{method: -103.44})
    (table,) = contrast_tables(three, (0.3, 1, 1))
    found = printed(table) + printed(lens_table(three))
    assert "…" not in found
    for whole in ("+381 to +441", "-133 to -73", "+411.03", "-34 to +26", "0.518"):
        assert whole in found, whole
    assert "-3.75" in found, "what the expert pays without contrast"


def test_two_methods_stand_side_by_side() -> None:
    """Four lenses leave no room for a third number, and contrasts take two tables."""
    four = scores(norm=-3.91, raw=411.03, gradient=-103.44, least_squares=-203.44)
    found = printed(lens_table(four))
    row = next(line for line in found.splitlines() if line.strip().startswith("29"))
    assert row.split() == ["29", "24.372", "20.303", "409.835", "383.685", *["24.372", "20.303"] * 2]
    assert "0.518" not in found
    first, second = map(printed, contrast_tables(four, (0.3, 1, 1)))
    assert "+381 to +441" in first
    assert "-133 to -73" in second
    assert "-233 to -173" in second
    assert "…" not in found + first + second
    assert ("-3.75" in first, "-3.75" in second) == (False, True), "the legend stands once"


def test_a_prediction_is_sorted_by_its_margins_and_says_where_there_is_no_rank() -> None:
    settings = [
        PredictedSetting("late", "tuned", "beam", Estimate(0.85, 0.7, 1.0, 32, 0), 1.51, 0.678),
        PredictedSetting("early", "tuned", "beam", Estimate(-3.44, -3.7, -3.2, 32, 0), NAN, 0.187),
    ]
    found = printed(prediction_table(settings))
    assert found.index("early") < found.index("late")
    assert "-3.7 to -3.2" in found
    assert "1.51" in found
    assert "nan" not in found
    none = Estimate(NAN, NAN, NAN, 2, 0)
    known = MarginCorrelation(Estimate(0.81, 0.73, 0.87, 19, 0), Estimate(-0.87, -0.93, -0.75, 18, 0))
    found = printed(rank_table({"beam, all": known, "greedy, all": MarginCorrelation(none, none)}))
    assert "+0.73 to +0.87" in found
    assert "-0.93 to -0.75" in found
    assert "nan" not in found


@pytest.mark.parametrize("width", [80, 200])
def test_labels_are_text(width: int) -> None:
    page = io.StringIO()
    one = PredictedSetting("[red]x[/red]", "norm", "beam", Estimate(0.0, -1.0, 1.0, 2, 0), 1.0, 0.5)
    Console(file=page, width=width).print(prediction_table([one]))
    assert "[red]x[/red]" in page.getvalue()


def test_drafting_fits_80_columns_whole() -> None:
    """Two lenses at a time; the legend once."""
    drafts = Drafts(0.318, 16, 10.25)
    found = [Drafting(k, lens, drafts, drafts) for k in (8, 29) for lens in ("norm", "raw", "least_squares")]
    tables = list(drafting_tables(found, "would drafting pay?"))
    assert len(tables) == 2
    text = "".join(map(printed, tables))
    assert "…" not in text
    assert text.count("32%") == 12
    assert text.count("10.25") == 12
    assert text.count("bytes alone") == 1
