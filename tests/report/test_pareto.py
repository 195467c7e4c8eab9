"""The front, against a look at every pair."""

import math
import random

from cdeval.report.pareto import COST, dominators, objectives_of


def row(diversity: float, flops: float, **more: float) -> dict[str, float]:
    return {"diversity": diversity, "flops_per_token": flops, **more}


def found(rows: list[dict[str, float]]) -> list[int | None]:
    return dominators(rows, objectives_of(rows))


def test_less_cost_at_equal_quality_dominates_and_a_trade_does_not() -> None:
    assert found([row(0.5, 10), row(0.5, 12), row(0.7, 12)]) == [None, 0, None]


def test_equal_rows_do_not_dominate_each_other() -> None:
    assert found([row(0.5, 10), row(0.5, 10)]) == [None, None]


def test_a_row_without_a_value_takes_no_part() -> None:
    assert found([row(0.5, 10), row(math.nan, 20), {}, row(0.4, 10)]) == [None, None, None, 0]


def test_the_dominator_is_on_the_front() -> None:
    assert found([row(0.3, 10), row(0.5, 10), row(0.7, 10)]) == [2, 2, None]


def test_nothing_is_traded_without_quality_or_without_cost() -> None:
    assert objectives_of([{"flops_per_token": 1.0}]) == []
    assert objectives_of([{"diversity": 1.0}]) == []
    ranked = objectives_of([row(0.5, 1, mauve=0.3)])
    assert [(one.name, one.way) for one in ranked] == [("diversity", 1), ("mauve", 1), (COST.name, -1)]


def test_against_every_pair() -> None:
    draw = random.Random(0)
    rows = [row(draw.randrange(5), draw.randrange(5), coherence=draw.randrange(5)) for _ in range(60)]
    for one, by in zip(rows, found(rows), strict=True):
        better = [
            other
            for other in rows
            if other != one
            and other["diversity"] >= one["diversity"]
            and other["coherence"] >= one["coherence"]
            and other["flops_per_token"] <= one["flops_per_token"]
        ]
        assert (by is not None) == bool(better)
        assert by is None or rows[by] in better
