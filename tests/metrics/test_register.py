"""Metrics of users' own: what is registered, what breaks, and what becomes of the numbers."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cdeval import Metric, metric
from cdeval.config.metrics import METRICS
from cdeval.config.schema import MetricsConfig
from cdeval.errors import ConfigError
from cdeval.metrics.evaluating import as_generations
from cdeval.metrics.judges.embedder import Embedder
from cdeval.metrics.judges.opening import Judges
from cdeval.metrics.means import Means
from cdeval.metrics.recall import Before
from cdeval.metrics.registry import Better, chosen_metrics
from cdeval.metrics.rows import Rows, mean_rows
from cdeval.metrics.scorefile import ArmScores, read_scores, to_bytes
from cdeval.metrics.suite import Scored, score_study
from cdeval.models.loading import LanguageModel
from cdeval.records import HUMAN_TEXTS, Generation
from cdeval.store.strict_json import to_page

FEW = ["one three", "", "seven", "a b", "c d e", "ff gg"]
TEXTS = FEW * 4  # an interval takes twenty texts that have a value


@pytest.fixture(autouse=True)
def _only_here() -> Iterator[None]:
    METRICS.every()
    yield
    for one in METRICS.plugged():
        METRICS.forget(one.name)


class Only:
    """It inherits nothing."""


def word_length(text: str) -> float:
    words = text.split()
    return sum(map(len, words)) / len(words) if words else math.nan


def scored(
    before: Mapping[str, ArmScores] | None = None, judges: Judges | None = None, human: Sequence[str] | None = None
) -> Scored:
    arms = {"mine": as_generations(TEXTS), "control": as_generations([f"{text} longer" for text in TEXTS])}
    if human is not None:
        arms |= {"human": as_generations(human)}
        arms = {
            label: [replace(text, reference=other) for text, other in zip(texts, human, strict=True)]
            for label, texts in arms.items()
        }
    earlier = {label: Before(kept) for label, kept in (before or {}).items()}
    names = [one.name for one in METRICS.plugged()]
    config = MetricsConfig(only=[*names, "words"])
    return score_study(arms, None, judges or Judges(None, ""), config, against={"mine": "control"}, before=earlier)


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
    [
        (lambda prompt, text: len(text) - len(prompt), 9),
        (lambda generation: len(generation.continuation), 9),
        (lambda text, reference: len(text) if reference is None else 0, 9),
        (lambda text, limit=3: min(limit, len(text)), 3),
    ],
)
def test_a_function_may_take_the_prompt_or_the_record(function: Callable[..., float], expected: int) -> None:
    metric("size")(function)
    found = METRICS["size"].of_arm(as_generations(FEW), Means(Judges(None, ""), MetricsConfig()))
    assert found.values[0, 0] == expected


def test_two_numbers_a_text_are_sum_over_sum() -> None:
    """Long texts weigh more: the share of vowels of all texts together."""

    @metric("vowels")
    def vowels(text: str) -> tuple[float, float]:
        return (sum(map(text.count, "aeiou")), len(text)) if text else (math.nan, math.nan)

    found = scored().scores["mine"]["vowels"]
    whole = "".join(TEXTS)
    assert found.value == pytest.approx(sum(whole.count(one) for one in "aeiou") / len(whole))
    assert (found.n, found.missing) == (20, 4)


def test_a_function_of_all_texts_is_one_number_or_a_row_for_each() -> None:
    """One number has no interval: a resample holds texts twice, which no function is asked about."""
    metric("different")(lambda texts: len(set(texts)))
    metric("longer_than_the_last")(lambda texts: [float(len(text) > len(texts[-1])) for text in texts])
    found = scored()
    assert found.scores["mine"]["different"].value == len(FEW)
    assert math.isnan(found.scores["mine"]["different"].low)
    assert found.scores["mine"]["longer_than_the_last"].low < found.scores["mine"]["longer_than_the_last"].value
    assert {one.metric for one in found.comparisons} == {"longer_than_the_last", "words"}


def test_embedder_and_scorer_come_by_their_arguments(tiny: Callable[[str], LanguageModel]) -> None:
    """And their identity is part of what a stored score depends on."""
    asked: list[list[str]] = []

    def embed(texts: list[str]) -> np.ndarray:
        asked.append(texts)
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    metric("size_by_embedding")(lambda texts, embed: embed(texts)[:, 0])
    metric("nats")(lambda generations, nll: nll[:, 0] / nll[:, 1])
    metric("named")(lambda texts, scorer, seed: float(len(scorer.name) + seed))
    expert = tiny("gpt2")
    found = scored(judges=Judges(None, Embedder(embed, "letters", "letters"), likelihood=expert))
    assert found.scores["mine"]["size_by_embedding"].value == pytest.approx(np.mean([len(text) for text in TEXTS]))
    assert len(asked) == 2, "once an arm"
    assert found.scores["mine"]["named"].value == len(expert.name)
    assert found.scores["mine"]["nats"].value > 0
    bases = {name: set(score.basis) for name, score in found.kept["mine"].scores.items()}
    assert bases["size_by_embedding"] == {"embedder", "source"}
    assert bases["nats"] == bases["named"] == {"scorer", "texts", "source"}


def test_human_texts_are_not_compared_with_themselves() -> None:
    metric("same")(lambda texts, references: [float(a == b) for a, b in zip(texts, references, strict=True)])
    assert "no human texts" in scored().scores["mine"]["same"].note
    found = scored(human=[text.upper() for text in TEXTS]).scores
    assert found["human"]["same"].note == HUMAN_TEXTS
    assert math.isnan(found["human"]["same"].value)
    assert found["mine"]["same"].value == pytest.approx(4 / 24), "the empty ones"


def test_a_class_computes_what_a_function_cannot() -> None:
    """Rows that become a number in another way: here the largest mean would not do, but a root of one does."""

    @metric("root_mean_square", better="lower", power=2)
    @dataclass(kw_only=True, eq=False)
    class Root(Metric):
        power: int = 1

        def of_arm(self, texts: Sequence[Generation], means: Means) -> Rows:
            values = np.array([[float(len(text.continuation) ** self.power)] for text in texts])
            rows = mean_rows(values, [text.id for text in texts], "of letters")
            return replace(rows, statistic=self.statistic(means.protocol))

        def statistic(self, protocol: object) -> Any:
            return lambda rows: np.sqrt(super(Root, self).statistic(protocol)(rows))

    found = scored()
    expected = np.sqrt(np.mean([len(text) ** 2 for text in TEXTS]))
    assert found.scores["mine"]["root_mean_square"].value == pytest.approx(expected)
    (one,) = [each for each in found.comparisons if each.metric == "root_mean_square"]
    assert math.isfinite(one.p)
    assert METRICS["root_mean_square"].better is Better.lower


def test_it_is_computed_unless_other_metrics_are_chosen_and_typos_are_named() -> None:
    metric("word_length")(word_length)
    assert chosen_metrics(MetricsConfig())[-1].name == "word_length"
    with pytest.raises(ConfigError, match=r"metrics\.only=\[word_lenght\].*Did you mean 'word_length'"):
        chosen_metrics(MetricsConfig(only=["word_lenght"]))


def test_scores_are_kept_until_the_file_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    metric("word_length")(lambda text: calls.append(text) or word_length(text))
    first = scored().kept
    assert len(calls) == 2 * len(TEXTS)
    again = scored(first)
    assert len(calls) == 2 * len(TEXTS)
    known = METRICS["word_length"]
    monkeypatch.setattr(known, "origin", replace(known.origin, digest="of another file"))
    assert scored(again.kept).scores == again.scores
    assert len(calls) == 4 * len(TEXTS), "both arms"


def test_what_readers_without_the_plug_in_must_know_is_stored(tmp_path: Path) -> None:
    """And outlives the plug-in: other arms of the study are scored again without it."""
    metric("word_length", label="word length", unit="letters", better="human", digits=2)(word_length)
    kept = scored().kept["mine"]
    facts = {"label": "word length", "unit": "letters", "better": "human", "digits": 2}
    assert kept.scores["word_length"].facts == facts
    (tmp_path / "scores.npz").write_bytes(to_bytes(kept))
    METRICS.forget("word_length")
    again = read_scores(tmp_path)
    assert again.scores["word_length"].facts == facts
    page = again.page(again.marked(again.scores["words"].texts))
    assert page["word_length"]["metric"] == facts
    assert "metric" not in page["words"]
    assert to_page(page)


@pytest.mark.parametrize(
    ("value", "said"), [("long", "returned str"), (math.inf, "returned inf"), (None, "NoneType"), (True, "bool")]
)
def test_what_is_no_number_costs_its_metric_alone(value: object, said: str) -> None:
    metric("word_length")(lambda text: value)
    found = scored()
    assert math.isnan(found.scores["mine"]["word_length"].value)
    assert said in found.scores["mine"]["word_length"].note
    assert found.scores["mine"]["words"].value > 0
    assert [str(one).split(" has ")[0].split(" (")[0] for one in found.failures] == ["the metric word_length"] * 2
    assert said in str(found.failures[0])


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda texts: texts, "rows that are no numbers"),
        (lambda texts: [1.0], r"shape \[1\]: expected finite numbers or NaN of shape \[24\]"),
        (lambda texts: [math.inf] * len(texts), "finite"),
        (lambda texts: "many", "returned str"),
        (lambda text: (1.0, 2.0) if text else 1.0, "numbers for some texts and pairs"),
        (lambda texts: texts[99], "IndexError"),
    ],
)
def test_what_is_neither_number_nor_rows_is_said(function: Callable[..., object], said: str) -> None:
    metric("odd")(function)
    found = scored()
    assert len(found.failures) in {1, 2}, "one an arm that has such a text"
    with pytest.raises(type(found.failures[0]), match=said):
        raise found.failures[0]


def test_what_broke_names_text_and_line_and_is_tried_again() -> None:
    """Its NaN was kept as a score, and the command ended as if nothing had happened."""
    broken = True
    metric("word_length")(lambda text: 1 / len(text) if broken else 1.0)
    found = scored()
    assert "text 1 raised ZeroDivisionError" in str(found.failures[0])
    assert f"{Path(__file__)}:" in str(found.failures[0])
    broken = False
    again = scored(found.kept)
    assert not again.failures
    assert again.scores["mine"]["word_length"].value == 1.0


def test_a_class_that_breaks_names_its_line() -> None:
    @metric("nothing")
    class Nothing(Metric):
        def of_arm(self, texts: Sequence[Generation], means: Means) -> Rows:
            raise RuntimeError("no rows")

    assert f"it raised RuntimeError: no rows ({Path(__file__)}:" in str(scored().failures[0])


def test_an_arm_that_breaks_keeps_the_others() -> None:
    metric("word_length")(lambda text: word_length(text.removesuffix(" longer")) if "longer" in text else 1 / 0)
    found = scored()
    assert len(found.failures) == 1
    assert "'mine'" in str(found.failures[0])
    assert math.isfinite(found.scores["control"]["word_length"].value)


@pytest.mark.parametrize(
    ("name", "facts", "code", "said"),
    [
        ("coherence", {}, word_length, "rename"),
        ("two words", {}, word_length, "letters, digits"),
        ("mine", {"better": "up"}, word_length, "higher, lower, human, none"),
        ("mine", {"needs": ["everything"]}, word_length, "references, tokens, embedder, scorer, featurizer"),
        ("mine", {"labels": "x"}, word_length, "there is no labels=. Did you mean 'label'"),
        ("mine", {}, lambda words: 0.0, r"expected some of \(text, prompt, reference, generation\)"),
        ("mine", {}, lambda text, embed: 0.0, "or texts or generations with some of"),
        ("mine", {}, Only, "inherits cdeval.Metric"),
    ],
)
def test_what_cannot_be_registered_is_one_message(
    name: str, facts: dict[str, Any], code: Callable[..., float], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        metric(name, **facts)(code)
