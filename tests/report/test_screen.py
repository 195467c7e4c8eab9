"""The end of a command: a verdict, a table that fits 80 columns, and where the rest is; notes=all shows all of it."""

import io
import math
import re
from collections.abc import Sequence

import pytest

from cdeval.config.enums import Notes
from cdeval.metrics.registry import Metric, Place, all_metrics
from cdeval.records import Comparison, Estimate
from cdeval.report.screen import Results, show
from cdeval.report.table import Row, chosen_columns, markdown_table, score_groups
from cdeval.store.screen import Screen
from tests.report.test_table import FULL

EXITS = [f"early_exit k={k} linear lens α={a} β=1 T=0.5, beam 5" for k in (8, 16, 20, 24, 26, 28) for a in (0.1, 0.3)]
EXITS += [f"early_exit k={k} α={a} β=1 T=0.5, beam 5" for k in (4, 8, 12, 16, 20, 24) for a in (0.01, 0.03, 0.1, 0.3)]
CONTROL = "expert alone, beam 5"


def row(label: str, role: str = "arm", **summary: float) -> Row:
    return Row(label, role, {**FULL, "mauve_low": 0.9, "mauve_high": 1.0, **summary})


def printed(results: Results, notes: Notes = Notes.short, width: int = 80) -> list[str]:
    console = Screen()
    console.file = io.StringIO()
    console.width = width
    show(results, notes, console)
    return console.file.getvalue().splitlines()


def results(rows: Sequence[Row], only: Sequence[str] = (), **more: object) -> Results:
    known: dict[str, object] = {"comparisons": [], "notes": ["MAUVE: too few texts"], "places": ["to look at: r.html"]}
    columns = chosen_columns(rows, only)
    return Results("study s", rows, columns, **{**known, "verdict": "An exit is better.", **more})  # type: ignore[arg-type]


def compared(arm: str) -> Comparison:
    return Comparison("diversity", arm, CONTROL, Estimate(0.2, 0.1, 0.3, 64, 0), 0.01, 0.03, 0.25)


def test_thirty_six_arms_end_in_fewer_than_eighty_lines_with_the_table_last() -> None:
    """They took 446."""
    assert len(EXITS) == 36
    rows = [*map(row, EXITS), row(CONTROL, "control"), row("human", "human")]
    found = results(rows, comparisons=[compared(label) for label in EXITS], notes=["a note " * 60] * 9)
    lines = printed(found)
    assert len(lines) < 60
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "to look at: r.html"
    assert next(place for place, line in enumerate(lines) if "An exit" in line) < lines.index(
        "study s: 37 arms, 64 texts each, all with beam 5"
    )
    assert "9 notes and 36 differences: in the report" in " ".join(lines)
    everything = printed(found, Notes.all)
    assert max(map(len, everything)) <= 80
    text = " ".join(" ".join(everything).split())
    assert "a note a note" in text
    assert f"differences from {CONTROL}" in text
    assert all(set(label.split()) <= set(text.split()) for label in EXITS), "whole labels"
    assert "notes=all" not in text


def test_columns_follow_the_metrics_that_were_asked_for() -> None:
    rows = [row("expert alone, greedy", rep_2=0.25), row("human", "human", rep_2=0.01)]
    head = " ".join(printed(results(rows, only=["rep_2"]))[4:7])
    assert "rep" in head
    assert "diversity" not in head
    assert "MAUVE" not in head
    assert "GFLOPs" in head
    usual = " ".join(printed(results(rows)))
    assert all(name in usual for name in ("diversity", "MAUVE", "coherence", "perplexity"))


def test_the_best_of_a_column_is_marked_and_ties_are_ties() -> None:
    rows = [
        row("first", diversity=0.5001),
        row("second", diversity=0.4999, coherence=0.1),
        row("third", diversity=0.2),
        row("human", "human", diversity=0.99),
    ]
    text = "\n".join(printed(results(rows, only=["diversity", "coherence"])))
    assert re.search(r"first +\.500\*", text)
    assert re.search(r"second +\.500\* .* \.100\*", text), text
    assert text.count("*") == 3 + 1, "and once in the legend"
    assert "* best decoded" in text


def test_nothing_is_best_where_all_are_alike_or_nothing_is_better() -> None:
    rows = [row("first", tokens=1), row("second", tokens=2)]
    assert "*" not in "".join(printed(results(rows, only=["tokens", "diversity"]))).replace("* best", "")


def test_human_texts_have_a_row_and_no_costs() -> None:
    last = next(line for line in printed(results([row("a"), row("human", "human")])) if line.startswith("human"))
    assert last.split()[0] == "human"
    assert last.split()[-3:] == ["–", "–", "–"]


@pytest.mark.parametrize("width", [80, 120])
def test_scores_of_others_fit_as_well(width: int) -> None:
    names = ("words", "diversity", "mauve", "coherence", "perplexity_expert", "rep_2", "rep_3", "rep_4", "tokens")
    more = ("entity_overlap", "distinct_1", "distinct_2", "self_bleu", "repetition_onset", "longest_repeat")
    summary = {f"{name}{end}": 0.1234 for name in (*names, *more) for end in ("", "_low", "_high")}
    rows = [Row(label, "arm", {"texts": 64, **summary}) for label in ("first.jsonl", "a/second_one.json", "human")]
    columns = [column for group in score_groups(rows) for column in group]
    lines = printed(Results("scores", rows, columns, [], [], ["results: r"]), width=width)
    assert max(map(len, lines)) <= width
    assert len(columns) > 12
    assert "no room" not in " ".join(lines)


ASKED = [one for one in all_metrics() if one.place is not Place.amount]


@pytest.mark.parametrize("metric", ASKED, ids=lambda metric: metric.name)
def test_a_metric_that_was_asked_for_is_in_every_table(metric: Metric) -> None:
    rows = [Row(label, "arm", {"texts": 64, metric.name: 0.1234}) for label in ("first", "second")]
    assert metric.name in {column.name for column in chosen_columns(rows, [metric.name])}
    assert metric.name in {column.name for columns in score_groups(rows, [metric.name]) for column in columns}
    headings = markdown_table(rows, only=[metric.name]).splitlines()[0].replace("texts, ", "").split(" | ")
    assert metric.heading.replace("\n", " ") in (heading.removesuffix(" |") for heading in headings)


def test_no_text_is_read_as_markup_and_none_moves_the_screen() -> None:
    lines = printed(results([row("[red]k=1[/red] \x1b[2J a|b")], verdict="[bold]\x1b[2J", notes=["‡ \x1b[2J lost"]))
    text = "\n".join(lines)
    assert "[red]k=1[/red]" in text
    assert "[bold]" in text
    assert "lost" in text, "a warning is shown in any case"
    assert "\x1b" not in text


def test_what_is_missing_takes_no_column() -> None:
    text = "\n".join(printed(results([Row("a", "arm", {"texts": 3, "diversity": 0.5, "mauve": math.nan})])))
    assert "MAUVE" not in text
    assert "nan" not in text
