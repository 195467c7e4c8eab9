"""Tables show what is missing as missing, and take no text for markup."""

import math

import pytest

from cdeval.report.table import (
    MISSING,
    Row,
    cells_of,
    markdown_table,
    result_columns,
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


def shown(summary: dict[str, float], role: str = "contrast") -> dict[str, str]:
    cells = cells_of(Row("arm", role, summary))
    pairs = zip(result_columns(), cells, strict=True)
    return {column.header.split("\n")[0]: " ".join(cell).strip() for column, cell in pairs}


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
    text = markdown_table([Row("arm", "contrast", gap)])
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
