import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from cdeval.errors import TextsError
from cdeval.records import Generation
from cdeval.score.raters.form import to_csv
from cdeval.score.raters.pairs import Sheet, draw_pairs
from cdeval.score.raters.preference import krippendorff_alpha, preference
from cdeval.score.raters.study import lines_of
from cdeval.score.raters.votes import Ballot, Key, read_ballots, read_key


def texts(name: str, count: int = 24) -> list[Generation]:
    return [Generation(f"{i}", f"prompt {i}", (), None, f"{name} {i}", (), None, None) for i in range(count)]


@pytest.fixture
def sheet() -> Sheet:
    return draw_pairs(("A", "B"), texts("a"), texts("b"), None, 0)


@pytest.fixture
def key(sheet: Sheet, tmp_path: Path) -> Key:
    (tmp_path / "key.json").write_text(json.dumps(sheet.key()))
    return read_key(tmp_path / "key.json")


@pytest.fixture
def hand_in(tmp_path: Path) -> Callable[[str, object], Path]:
    def write(name: str, content: object) -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


def for_first(key: Key, code: str) -> str:
    return "left" if key.first_is_left[code] else "right"


def for_second(key: Key, code: str) -> str:
    return "right" if key.first_is_left[code] else "left"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_filled_sheet_comes_back_from_any_spreadsheet(
    sheet: Sheet, key: Key, hand_in: Callable[[str, object], Path], delimiter: str
) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(sheet), newline="")))
    for row in rows[:5]:
        row["vote"] = f" {for_first(key, row['pair']).upper()}"
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys(), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    (ballot,) = read_ballots([hand_in("bob.csv", "\ufeff" + out.getvalue())], key)
    assert ballot.rater == "bob"
    assert ballot.votes == {row["pair"]: for_first(key, row["pair"]) for row in rows[:5]}


def test_several_raters_and_formats_are_one_ballot_each(key: Key, hand_in: Callable[[str, object], Path]) -> None:
    ann = hand_in("1.json", {"sheet": key.sheet, "rater": "ann", "votes": {"p001": "left"}})
    more = hand_in("2.json", {"sheet": key.sheet, "rater": "ann", "votes": {"p001": "left", "p002": "tie"}})
    bob = hand_in("3.csv", "pair,vote,rater\np001,right,bob\np002,,bob\np003,tie,ann\n")
    ballots = {ballot.rater: dict(ballot.votes) for ballot in read_ballots([ann, more, bob], key)}
    assert ballots == {"ann": {"p001": "left", "p002": "tie", "p003": "tie"}, "bob": {"p001": "right"}}


def test_mistakes_in_votes_are_named(key: Key, hand_in: Callable[[str, object], Path]) -> None:
    def form(**changes: object) -> dict[str, object]:
        return {"sheet": key.sheet, "rater": "ann", "votes": {"p001": "left"}, **changes}

    mistakes: list[tuple[list[object], str]] = [
        ([form(sheet="other")], "holds votes on the sheet 'other'"),
        ([form(votes={"p999": "left"})], "there is no pair 'p999'"),
        ([form(votes={"p001": "A"})], "the vote is 'A'; expected left, right, tie"),
        ([form(votes={})], "no vote in there"),
        ([form(votes=["left"])], "expected the JSON that the form saves"),
        (["{"], "expected the JSON that the form saves"),
        (["pair,choice\np001,left\n"], r"columns found: pair, choice"),
        (["pair,vote\np001,best\n"], r"line 2: the vote is 'best'"),
        ([form(), form(votes={"p001": "right"})], "'right' on p001, and 'left' elsewhere"),
        ([""], "is empty"),
    ]
    for contents, expected in mistakes:
        paths = [hand_in(f"v{i}.x", content) for i, content in enumerate(contents)]
        with pytest.raises(TextsError, match=expected):
            read_ballots(paths, key)


@pytest.mark.parametrize("content", ["[]", "{}", '{"sheet": "x", "arms": ["a"], "pairs": {}}', "x", "\u00e9"])
def test_a_wrong_key_is_named(content: str, hand_in: Callable[[str, object], Path]) -> None:
    with pytest.raises(TextsError, match="is not a key file"):
        read_key(hand_in("k.json", content))


def test_rates_by_hand(key: Key) -> None:
    """Sides are undone by the key: 12 wins, 4 ties, 8 losses, one rater, left or right by the coin."""
    codes = list(key.ids)
    votes = {code: for_first(key, code) for code in codes[:12]}
    votes |= dict.fromkeys(codes[12:16], "tie")
    votes |= {code: for_second(key, code) for code in codes[16:]}
    found = preference([Ballot("ann", votes)], key, 0.95, 500, 0)
    assert (found.win.value, found.tie.value, found.loss.value) == pytest.approx((6 / 12, 2 / 12, 4 / 12))
    assert found.net.value == pytest.approx(2 / 12)
    assert found.win.low < 0.5 < found.win.high
    assert (found.prompts_won, found.prompts_lost, found.prompts_drawn) == (12, 8, 4)
    assert found.p == pytest.approx(1 - sum(math.comb(20, k) for k in (9, 10, 11)) / 2**20)
    assert math.isnan(found.alpha)
    assert "one rater" in lines_of(found, key.arms, 24, 0.95)[-1]


def test_raters_who_agree_add_no_certainty_about_prompts(key: Key) -> None:
    """The same votes from five raters: rates, interval and test stay, as prompts are the units."""
    codes = list(key.ids)
    votes = {code: for_first(key, code) if i < 16 else for_second(key, code) for i, code in enumerate(codes)}
    one = preference([Ballot("a", votes)], key, 0.95, 500, 0)
    five = preference([Ballot(name, votes) for name in "abcde"], key, 0.95, 500, 0)
    assert (five.win.value, five.p) == (one.win.value, one.p)
    assert (five.win.low, five.win.high) == pytest.approx((one.win.low, one.win.high))
    assert (five.votes, five.raters, five.alpha) == (120, 5, 1.0)


def test_votes_on_few_prompts_have_no_interval_and_the_exact_test_says_what_so_few_can(key: Key) -> None:
    votes = {code: for_first(key, code) for code in list(key.ids)[:19]}
    found = preference([Ballot(name, votes) for name in "ab"], key, 0.95, 100, 0)
    assert [math.isnan(end) for one in (found.win, found.net) for end in (one.low, one.high)] == [True] * 4
    assert found.p == pytest.approx(2 / 2**19)
    shown = lines_of(found, key.arms, 24, 0.95)[1]
    assert "win 100.0 %, " in shown
    assert "fewer than 20 prompts" in shown
    assert "nan" not in shown


def test_pairs_without_votes_are_counted(key: Key) -> None:
    found = preference([Ballot("a", {"p001": "tie"})], key, 0.95, 100, 0)
    assert (found.win.n, found.win.missing, found.tie.value) == (1, 23, 1.0)
    assert math.isnan(found.p)
    assert math.isnan(found.win.low)


def test_krippendorffs_alpha_is_that_of_his_example() -> None:
    """Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", example C: four observers, nominal: 0.743."""
    observers = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    raters = [{str(unit): str(v) for unit, v in enumerate(row) if v is not None} for row in observers]
    assert krippendorff_alpha(raters) == pytest.approx(0.743, abs=5e-4)


def test_alpha_of_opposites_and_of_nothing() -> None:
    assert krippendorff_alpha([{"1": "left", "2": "right"}, {"1": "right", "2": "left"}]) < 0
    assert math.isnan(krippendorff_alpha([{"1": "left"}, {"2": "left"}]))
    assert math.isnan(krippendorff_alpha([{"1": "tie"}, {"1": "tie"}]))
    assert math.isnan(krippendorff_alpha([]))
