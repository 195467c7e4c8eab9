"""Tables fit narrow screens whatever they hold: no number is cut, no word is broken, and what is left out is named."""

import pytest
from rich.cells import cell_len

from cdeval.report.narrow import MOST, Grid, fitted
from cdeval.report.table import Cell

LONG = "early_exit k=26 by jsd tuned lens α=0.1 where H>1.5 β=0.5 T=1 log p/T, contrastive search k=5 α=.6"
WORD = "a-checkpoint-whose-name-is-longer-than-any-column-would-ever-be-and-has-no-blank"


def grid(rows: int, columns: int, label: str = "exit k=26, beam 5", detail: str = ".831–.889") -> Grid:
    labels = [f"{label} #{row}" for row in range(rows)]
    entries = [[Cell(f"{row}.{column}", detail) for column in range(columns)] for row in range(rows)]
    return Grid([f"measure {column}\n↑" for column in range(columns)], labels, entries)


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("label", ["exit", LONG, f"{WORD[:70]} beam", "模型" * 20])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 3), (7, 14), (36, 6), (36, 14)])
def test_no_line_is_wider_than_the_screen_and_no_word_is_broken(
    width: int, label: str, rows: int, columns: int
) -> None:
    table = grid(rows, columns, label)
    found = fitted(table, width)
    assert max(map(cell_len, found.lines)) <= width
    text = " ".join(" ".join(found.lines).split())
    shown = columns - len(found.left_out)
    assert shown >= 1
    for row in range(rows):
        for column in range(shown):
            assert f" {row}.{column} " in f"{text} "
    words = set(text.split())
    if "模" not in label:  # a name without blanks that is wider than its room
        assert set(label.split()) <= words
    assert all(f"measure {column} ↑" in found.left_out for column in range(shown, columns))


def test_few_rows_have_their_details_beside_or_below() -> None:
    beside = fitted(grid(3, 2), 80)
    assert beside.details
    assert len(beside.lines) == 2 + 1 + 3
    assert beside.lines[3].split()[-4:] == ["0.0", ".831–.889", "0.1", ".831–.889"]
    below = fitted(grid(3, 5), 80)
    assert below.details
    assert len(below.lines) == 2 + 1 + 2 * 3


def test_many_rows_take_a_line_each_and_stay_short() -> None:
    found = fitted(grid(38, 5), 80)
    assert not found.details
    assert found.left_out == []
    assert len(found.lines) == 2 + 1 + 38
    wide = fitted(grid(38, 30), 80)
    assert len(wide.lines) <= MOST
    assert len(wide.left_out) > 10


def test_all_of_it_where_all_is_asked_for() -> None:
    found = fitted(grid(38, 30), 80, None)
    assert found.details
    assert found.left_out == []
    assert max(map(len, found.lines)) <= 80


def test_more_rows_than_there_is_room_for_are_all_shown() -> None:
    assert len(fitted(grid(200, 3), 80).lines) >= 200


def test_values_stand_below_their_headings() -> None:
    head, way, _, first = fitted(Grid(["diversity\n↑", "n"], ["a"], [[Cell(".5", ".4–.6"), Cell("10")]]), 80).lines
    assert head.index("diversity") + len("diversity") == way.index("↑") + 1 == first.index(".5") + 2
    assert way.index("n") == first.index("10") + 1
