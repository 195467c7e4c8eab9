"""All comparisons of a study, as one family."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from cdeval.config.schema import MetricsConfig
from cdeval.metrics.codebook import Codes
from cdeval.metrics.compare import ArmRows, Settings, compare_arms, counted, holm
from cdeval.metrics.diversity import diversity, ngram_counts
from cdeval.metrics.judges.likelihood import nll_rows
from cdeval.metrics.judges.scorer import TextReader
from cdeval.metrics.mauve import MEASURES
from cdeval.metrics.pairing import compare_kept
from cdeval.metrics.perplexity import loglik_rows
from cdeval.metrics.scorefile import ArmScores, Score
from cdeval.metrics.stats import perplexity
from cdeval.models.loading import LanguageModel
from cdeval.records import Comparison, Estimate, Generation
from tests.metrics.clustered import mauve_of_arms

SETTINGS = Settings(draws=300)
WORDS = ["quick", "brown", "fox", "jumps", "over", "lazy", "dog", "and", "runs", "into", "forest", "near", "river"]


def write(judge: LanguageModel, seed: int, pool: int) -> list[Generation]:
    rng = np.random.default_rng(seed)
    texts = []
    for i in range(30):
        words = " " + " ".join(rng.choice(WORDS[:pool], size=14).tolist())
        ids = judge.tokenizer(words)["input_ids"][:24]
        texts.append(Generation(f"{i}", "the", (27,), None, judge.tokenizer.decode(ids), tuple(ids), None, None))
    return texts


def compare(
    rows: Mapping[str, Mapping[str, ArmRows]],
    against: Mapping[str, str],
    codes: Mapping[str, Codes] | None = None,
    measures: tuple[str, ...] = tuple(MEASURES),
) -> list[Comparison]:
    """Compare arms by rows, by metric and arm, and by clusters."""
    nothing = Estimate(math.nan, math.nan, math.nan, 0, 0)
    kept = {}
    for label in {label for of_arms in rows.values() for label in of_arms}:
        found = {name: Score(nothing, "", "", {}, of_arms[label]) for name, of_arms in rows.items() if label in of_arms}
        counted = {name: Score(nothing, "", "", {}) for name in measures if codes and label in codes}
        kept[label] = ArmScores({**found, **counted}, codes.get(label) if codes else None)
    return compare_kept(kept, against, SETTINGS)


def test_a_study_is_one_family(tiny: Callable[[str], LanguageModel]):
    """From texts to corrected differences, as a study wires it: signs, pairing and the size of the family."""
    judge = tiny("gpt2")
    human = write(judge, 0, 13)
    arms = {"base": write(judge, 1, 13), "dull": write(judge, 2, 2), "same": write(judge, 1, 13)}
    ids = {label: tuple(text.id for text in texts) for label, texts in arms.items()}
    nll = {label: nll_rows(judge, texts) for label, texts in arms.items()}
    counts = {label: ngram_counts([text.continuation for text in texts]) for label, texts in arms.items()}
    rows = {
        "diversity": {label: ArmRows(ids[label], found.astype(float)) for label, found in counts.items()},
        "coherence_loglik": {label: ArmRows(ids[label], counted(loglik_rows(found))) for label, found in nll.items()},
        "perplexity_expert": {label: ArmRows(ids[label], found) for label, found in nll.items()},
    }
    codes = mauve_of_arms(arms, human, TextReader(judge, retokenise=False), MetricsConfig(mauve_seeds=2), 0).codes
    against = {"dull": "base", "same": "base"}
    found = compare(rows, against, codes)
    assert [(c.metric, c.arm) for c in found] == [(m, a) for m in (*rows, *MEASURES) for a in against]
    fewer = compare(rows, against, codes, ("mauve",))
    assert {c.metric for c in fewer} == {*rows, "mauve"}, "what nobody asked for makes no p-value larger"
    assert [c.p_holm for c in fewer] == holm([c.p for c in fewer])
    by_name = {(c.metric, c.arm): c for c in found}
    assert by_name["diversity", "dull"].difference.high < 0
    assert by_name["mauve", "dull"].difference.value < 0
    assert by_name["frontier_integral", "dull"].difference.value > 0
    for name in (*rows, *MEASURES):
        assert by_name[name, "same"].difference.value == 0
        assert by_name[name, "same"].p == 1
    assert [c.p_holm for c in found] == holm([c.p for c in found])
    assert by_name["diversity", "dull"].p_holm == pytest.approx(12 * by_name["diversity", "dull"].p)
    expected = perplexity(nll["dull"]) - perplexity(nll["base"])
    assert by_name["perplexity_expert", "dull"].difference.value == pytest.approx(float(expected))


def test_a_metric_that_nobody_knows_is_a_mean():
    """Its plug-in is not loaded; the rows that are kept are compared all the same."""
    ids, values = tuple(map(str, range(21))), np.tile([[1.0], [2.0], [4.0]], (7, 1))
    rows = {name: ArmRows(ids, counted(values * k)) for name, k in (("x", 1), ("y", 2))}
    (found,) = compare({"score": rows}, {"y": "x"})
    assert (found.arm, found.against) == ("y", "x")
    assert found.difference.value == pytest.approx(7 / 3)
    assert math.isfinite(found.p_holm)


def test_each_arm_is_compared_with_its_own_control_in_one_family():
    """Beam arms with beam search, greedy arms with greedy search; and nobody with a stranger."""
    values = {"beam": 1.0, "exit beam": 2.0, "greedy": 10.0, "exit greedy": 30.0}
    rows = {
        arm: ArmRows(("a", "b", "c"), counted(np.array([[1.0], [2.0], [4.0]]) * value)) for arm, value in values.items()
    }
    found = compare({"score": rows}, {"exit beam": "beam", "exit greedy": "greedy"})
    assert {(c.arm, c.against): round(c.difference.value / (7 / 3)) for c in found} == {
        ("exit beam", "beam"): 1,
        ("exit greedy", "greedy"): 20,
    }
    assert [c.p_holm for c in found] == holm([c.p for c in found])


def test_many_comparisons_can_still_show_something() -> None:
    """Kills: 300 draws, whose least p-value, 1 / 301, times 60 comparisons is .2 whatever the difference."""
    rng = np.random.default_rng(0)
    ids = tuple(map(str, range(30)))
    base = rng.normal(size=(30, 1))
    arms = {f"arm {i}": ArmRows(ids, counted(base + 5 + rng.normal(size=(30, 1)) / 9)) for i in range(60)}
    found = compare({"mean": {**arms, "base": ArmRows(ids, counted(base))}}, dict.fromkeys(arms, "base"))
    assert len(found) == 60
    assert max(comparison.p_holm for comparison in found) < 0.05


def test_no_interval_reaches_beyond_what_a_metric_can_differ_by():
    """Two of twenty texts carry the spread: value ± reach goes below -1, where no difference of diversities is."""
    rng, ids = np.random.default_rng(3), tuple(map(str, range(20)))
    steady = np.hstack([rng.integers(90, 97, size=(20, 3)), np.tile([99.0, 98.0, 97.0], (20, 1))])
    broken = steady.copy()
    broken[:, :3] -= rng.integers(0, 4, size=(20, 3))
    broken[:2, :3] = 5
    rows = {"broken": ArmRows(ids, broken), "steady": ArmRows(ids, steady)}
    (wide,) = compare_arms(rows, diversity, "diversity", "steady", SETTINGS)
    assert wide.difference.low < -1, "there is something to bound"
    (found,) = compare({"diversity": rows}, {"broken": "steady"})
    assert (found.difference.low, found.difference.high) == (-1, min(1, wide.difference.high))
    assert (found.difference.value, found.p) == (wide.difference.value, wide.p)
