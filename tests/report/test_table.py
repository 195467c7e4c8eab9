"""Tables show what is missing as missing, fit narrow terminals, and take no text for markup."""

import math

import pytest
from rich.console import Console

from cdeval.report.table import (
    MISSING,
    Row,
    cells_of,
    markdown_table,
    result_columns,
    results_table,
    score_groups,
)

FULL = {
    "texts": 64.0,
    "tokens": 16384.0,
    "diversity": 0.8624,
    "diversity_low": 0.831,
    "diversity_high": 0.8888,
    "mauve": 1.0,
    "coherence": -0.0567,
    "coherence_low": -0.1,
    "coherence_high": 0.601,
    "perplexity_expert": 37.214,
    "perplexity_expert_low": 35.06,
    "perplexity_expert_high": 139.84,
    "flops_per_token": 0.27345e9,
    "flops_overhead": 0.0413,
    "decode_seconds_per_token": 0.05213,
    "latency_overhead": -0.0002,
    "memory_bytes": 1.5 * 2**30,
}
LABELS = ("human text", "expert alone", "early_exit k=26 α=0.1 β=0.5 T=1", "early_exit k=2 α=0.05 β=1 T=0.5")


def shown(summary: dict[str, float], role: str = "contrast") -> dict[str, str]:
    cells = cells_of(Row("arm", role, summary))
    pairs = zip(result_columns(), cells, strict=True)
    return {column.header.split("\n")[0]: " ".join(cell).strip() for column, cell in pairs}


def rendered(rows: list[Row], width: int, title: str = "study", notes: tuple[str, ...] = ()) -> str:
    console = Console(width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(results_table(rows, title, notes))
    return capture.get()


def test_every_number_in_its_unit() -> None:
    assert shown(FULL) == {
        "texts,": "64 16384",
        "diversity": ".862 .831–.889",
        "MAUVE": "1.000",
        "coherence": "-.057 -.100–.601",
        "perplexity": "37.21 35.1–140",
        "GFLOPs": "0.273 +4.1 %",
        "ms": "52.1 +0.0 %",
        "memory": "1.50",
    }


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.0, "+0.0 %"), (0.0994, "+9.9 %"), (0.09996, "+10 %"), (1.04, "+104 %"), (-0.25, "-25 %"), (-0.031, "-3.1 %")],
)
def test_overheads_keep_their_sign_and_two_digits(ratio: float, text: str) -> None:
    assert shown({"flops_overhead": ratio})["GFLOPs"] == f"{MISSING} {text}"


@pytest.mark.parametrize(
    ("perplexity", "text"),
    [(9.8765, "9.877"), (123.44, "123.4"), (54321.0, "54321"), (2.5e7, "2.500e+07"), (0.0, "0.000")],
)
def test_numbers_of_any_size_stay_short(perplexity: float, text: str) -> None:
    assert shown({"perplexity_expert": perplexity})["perplexity"] == text


@pytest.mark.parametrize("gap", [{}, dict.fromkeys(FULL, math.nan), dict.fromkeys(FULL, math.inf)])
def test_what_is_missing_is_a_dash_everywhere(gap: dict[str, float]) -> None:
    assert set(shown(gap).values()) == {MISSING}
    for text in (rendered([Row("arm", "contrast", gap)], 80), markdown_table([Row("arm", "contrast", gap)])):
        assert "nan" not in text
        assert "inf" not in text
        assert "0" not in text.replace("100", "")
        assert text.count(MISSING) >= len(result_columns())


def test_an_interval_with_one_end_is_not_shown() -> None:
    assert shown({"diversity": 0.5, "diversity_low": 0.4, "diversity_high": math.nan})["diversity"] == ".500"


def test_human_texts_have_scores_and_no_costs() -> None:
    human = shown(FULL, role="human")
    assert human["diversity"] == ".862 .831–.889"
    assert [human["GFLOPs"], human["ms"], human["memory"]] == [MISSING] * 3


@pytest.mark.parametrize("width", [80, 100, 160])
def test_narrow_terminals_lose_nothing(width: int) -> None:
    rows = [Row(label, "contrast", FULL) for label in LABELS]
    text = rendered(rows, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for number in (".831–.889", "-.100–.601", "35.1–140", "+4.1 %", "16384", "1.50"):
        assert text.count(number) == len(LABELS)
    lines = text.splitlines()
    edge = next(line for line in lines if line.startswith("arm")).index("tokens")
    first_column = " ".join(" ".join(line[:edge] for line in lines).split())
    for label in LABELS:
        assert label in (text if width >= 100 else first_column)


def test_no_text_is_read_as_markup() -> None:
    row = Row("[red]k=1[/red] \x1b[2J a|b <b>*x*", "contrast", FULL)
    text = rendered([row], 200, title="[bold]first[/nothing]", notes=("MAUVE: [n=64] is too small",))
    assert "[red]k=1[/red] \N{REPLACEMENT CHARACTER}[2J a|b <b>*x*" in text
    assert "[bold]first[/nothing]" in text
    assert "MAUVE: [n=64] is too small" in text
    assert "\x1b" not in text


def test_markdown_has_the_same_cells_and_cannot_break_out_of_them() -> None:
    rows = [Row("a|b\n<script>`*", "contrast", FULL), Row("human text", "human", FULL)]
    header, rule, first, second, *rest = markdown_table(rows, notes=("n|m",)).splitlines()
    assert first == (
        r"| a\|b \<script\>\`\* | 64 (16384) | .862 (.831–.889) | 1.000 | -.057 (-.100–.601) | 37.21 (35.1–140) "
        "| 0.273 (+4.1 %) | 52.1 (+0.0 %) | 1.50 |"
    )
    assert second.endswith(f"| {MISSING} | {MISSING} | {MISSING} |")
    assert header.count("|") == rule.count("|") == second.count("|") == first.count("|") - 1
    assert r"n\|m" in rest


def test_scores_of_others_have_four_digits_of_diversity_and_no_column_without_a_number() -> None:
    """Published figures are compared to the last digit; what was not computed takes no room."""
    rows = [Row("a", "arm", {"texts": 1947, "words": 190.34001, "diversity": 0.93056}), Row("human", "human", {})]
    (columns,) = score_groups(rows)
    assert [column.header for column in columns] == ["texts", "words", "diversity\n↑"]
    assert [cell.value for cell in cells_of(rows[0], columns)] == ["1947", "190.34", ".9306"]
    page = markdown_table(rows, (), columns)
    assert "| a | 1947 | 190.34 | .9306 |" in page
    assert "overhead" not in page


@pytest.mark.parametrize("place", range(3))
def test_every_table_of_scores_fits_a_narrow_terminal(place: int) -> None:
    names = ("texts", "words", "diversity", "mauve", "coherence", "perplexity_expert", "rep_2", "rep_3", "rep_4")
    more = ("entity_overlap", "distinct_1", "distinct_2", "distinct_3", "distinct_4", "self_bleu")
    summary = {f"{name}{end}": 0.1234 for name in (*names, *more) for end in ("", "_low", "_high")}
    summary |= {f"{name}{end}": 234.5678 for name in ("words", "tokens") for end in ("", "_low", "_high")}
    summary |= {f"{n}{end}": 98.7654 for n in ("repetition_onset", "longest_repeat") for end in ("", "_low", "_high")}
    rows = [Row(label, "arm", summary) for label in LABELS]
    columns = score_groups(rows)[place]
    assert len(columns) == [6, 7, 5][place]
    console = Console(width=80, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(results_table(rows, "", columns=columns))
    assert "…" not in capture.get()
    assert max(map(len, capture.get().splitlines())) <= 80
    for column in columns:
        value = cells_of(Row("a", "arm", summary), [column])[0].value
        assert capture.get().count(value) >= len(LABELS)
