"""Metrics of users' own: what is registered, what breaks, and what becomes of the numbers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cdeval import metric
from cdeval.config.schema import MetricsConfig
from cdeval.errors import ConfigError
from cdeval.metrics import registry
from cdeval.metrics.directions import sign
from cdeval.metrics.evaluating import as_generations
from cdeval.metrics.judges.opening import Judges
from cdeval.metrics.recall import Before
from cdeval.metrics.rows import Rows
from cdeval.metrics.scorefile import ArmScores
from cdeval.metrics.suite import Scored, chosen_metrics, score_study
from cdeval.records import Generation
from cdeval.report.differences import compared
from cdeval.report.measures import totals
from cdeval.report.table import Row, cells_of, markdown_table, plugged_columns

FEW = ["one three", "", "seven", "a b", "c d e", "ff gg"]


@pytest.fixture(autouse=True)
def _only_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_PLUGGED", {})


def word_length(text: str) -> float:
    words = text.split()
    return sum(map(len, words)) / len(words) if words else math.nan


TEXTS = FEW * 4  # an interval takes twenty texts that have a value


def scored(before: Mapping[str, ArmScores] | None = None) -> Scored:
    arms = {"mine": as_generations(TEXTS), "control": as_generations([f"{text} longer" for text in TEXTS])}
    earlier = {label: Before(kept) for label, kept in (before or {}).items()}
    config = MetricsConfig(only=["word_length", "words"])
    return score_study(arms, None, Judges(None, ""), config, against={"mine": "control"}, before=earlier)


def test_a_function_of_a_text_is_a_mean_with_interval_and_comparison() -> None:
    metric("word_length", label="word length", unit="letters", better="human")(word_length)
    found = scored()
    estimate = found.scores["mine"]["word_length"]
    assert estimate.value == pytest.approx((4 + 5 + 1 + 1 + 2) / 5)
    assert estimate.low < estimate.value < estimate.high
    assert (estimate.n, estimate.missing) == (20, 4), "the empty text has no value and is counted"
    (one,) = [each for each in found.comparisons if each.metric == "word_length"]
    assert one.difference.value < 0
    assert math.isfinite(one.p_holm)


@pytest.mark.parametrize(
    ("function", "expected"),
    [(lambda prompt, text: len(text) - len(prompt), 9), (lambda generation: len(generation.continuation), 9)],
)
def test_a_function_may_take_the_prompt_or_the_record(function: Callable[..., float], expected: int) -> None:
    metric("size")(function)
    assert registry.plugged()["size"].rows(as_generations(FEW)).values[0, 0] == expected


def test_it_is_computed_unless_other_metrics_are_chosen_and_typos_are_named() -> None:
    metric("word_length")(word_length)
    assert chosen_metrics(MetricsConfig())[-1] == "word_length"
    with pytest.raises(ConfigError, match="word_length"):
        chosen_metrics(MetricsConfig(only=["word_lenght"]))


def test_tables_pages_and_comparisons_show_it() -> None:
    metric("word_length", label="word length", unit="letters", better="lower", digits=2)(word_length)
    assert sign("word_length") == "↓"
    assert "word_length" in compared()
    (shown,) = [one for one in totals() if one.name == "word_length"]
    assert shown.heading == "word length [letters] ↓"
    row = Row("mine", "arm", {"texts": 3.0, "word_length": 4.125})
    (column,) = plugged_columns()
    assert (column.header, cells_of(row, [column])[0].value) == ("word length\nletters ↓", "4.12")
    assert "| word length letters ↓ |" in markdown_table([row])


def test_scores_are_kept_until_the_file_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    metric("word_length")(word_length)
    first, calls = scored().kept, []
    made = registry.Metric.rows

    def counted(self: registry.Metric, generations: list[Generation]) -> Rows:
        calls.append(self.name)
        return made(self, generations)

    monkeypatch.setattr(registry.Metric, "rows", counted)
    again = scored(first)
    assert not calls
    known = registry.plugged()["word_length"]
    changed = replace(known, origin=replace(known.origin, digest="of another file"))
    monkeypatch.setattr(registry, "_PLUGGED", {"word_length": changed})
    assert scored(again.kept).scores == again.scores
    assert calls == ["word_length"] * 2, "both arms"


@pytest.mark.parametrize(
    ("value", "said"), [("long", "returned str"), (math.inf, "returned inf"), (None, "NoneType"), (True, "bool")]
)
def test_what_is_no_number_costs_its_metric_alone(value: object, said: str, caplog: pytest.LogCaptureFixture) -> None:
    metric("word_length")(lambda text: value)
    found = scored().scores["mine"]
    assert math.isnan(found["word_length"].value)
    assert said in found["word_length"].note
    assert "text 0" in caplog.text
    assert found["words"].value > 0


def test_an_exception_is_named_with_text_and_line(caplog: pytest.LogCaptureFixture) -> None:
    metric("word_length")(lambda text: 1 / len(text))
    scored()
    assert "text 1 raised ZeroDivisionError" in caplog.text
    assert f"{Path(__file__)}:" in caplog.text


@pytest.mark.parametrize(
    ("name", "better", "function", "said"),
    [
        ("coherence", "none", word_length, "rename"),
        ("two words", "none", word_length, "letters, digits"),
        ("mine", "up", word_length, "higher, lower, human, none"),
        ("mine", "none", lambda words: 0.0, r"expected \(text\)"),
    ],
)
def test_what_cannot_be_registered_is_one_message(
    name: str, better: str, function: Callable[..., float], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        metric(name, better=better)(function)
