"""What a reader of the table is told below it."""

import math

from cdeval.metrics.stats import FEW
from cdeval.records import Estimate
from cdeval.report.summary import notes_of


def estimate(value: float = 0.5, missing: int = 0, note: str = "") -> Estimate:
    return Estimate(value, value, value, 10, missing, note)


def test_equal_notes_are_one_line_and_spreads_a_range() -> None:
    """A sweep of twenty arms would else say the same twenty times."""
    note = "mean of 5 k-means seeds (sd {}); interval by resampling"
    scores = {
        "a": {"mauve": estimate(note=note.format("0.002")), "mauve_star": estimate(note=note.format("0.002"))},
        "b": {"mauve": estimate(note=note.format("0.014"))},
        "c": {"mauve": estimate(note=note.format("0.010")), "words": estimate(note="mean")},
        "d": {"mauve": estimate(math.nan, note="no human texts")},
    }
    assert notes_of(scores) == [
        "mauve, mauve_star: mean of 5 k-means seeds (sd 0.002 to 0.014); interval by resampling",
        "words: mean",
        "mauve: no value for 'd': no human texts",
    ]
    assert notes_of({"a": {"mauve": scores["a"]["mauve"]}}) == [f"mauve: {note.format('0.002')}"]


def test_one_line_says_where_prompts_are_too_few_for_an_interval() -> None:
    """It names the arms where others have an interval."""
    few = {"diversity": estimate(note=f"over words; {FEW}"), "words": estimate(note=FEW)}
    both = {"a": few, "b": {"diversity": estimate(note=f"over words; {FEW}"), "words": estimate()}}
    assert notes_of(both) == [
        "diversity: over words",
        "no interval and no p-value where fewer than 20 prompts have a value: diversity, words of 'a'",
    ]


def test_missing_values_are_counted_by_metric_and_few_arms_are_named() -> None:
    few = {"a": {"onset": estimate(missing=3)}, "b": {"onset": estimate()}, "c": {"onset": estimate(missing=1)}}
    assert notes_of(few) == ["onset: texts without a value: 3 of 'a', 1 of 'c'"]
    many = {f"arm {i}": {"onset": estimate(missing=i)} for i in range(1, 6)}
    assert notes_of(many) == ["onset: texts without a value: 1 to 5 of 5 arms (metrics.json)"]


def test_a_metric_without_any_value_says_why() -> None:
    """Chinese without spaces, or references scored as an arm: the table showed a dash and nothing said why."""
    none = Estimate(math.nan, math.nan, math.nan, 0, 4, "no text has a value; over words")
    human = Estimate(math.nan, math.nan, math.nan, 4, 0, "these are the human texts")
    scores = {"a": {"diversity": none, "mauve": human}, "human": {"diversity": none, "mauve": human}}
    assert notes_of(scores) == [
        "diversity: no value for 'a', 'human': no text has a value; over words",
        "mauve: no value for 'a': these are the human texts",
    ]
