import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from cdeval.config.enums import Codebook
from cdeval.config.schema import MetricsConfig
from cdeval.metrics.codebook import quantise
from cdeval.metrics.features import FeatureCache
from cdeval.metrics.judges import clusters as module
from cdeval.metrics.judges.clusters import Pair, pair_up
from cdeval.metrics.judges.scorer import TextReader
from cdeval.metrics.mauve import MEASURES
from cdeval.models.loading import LanguageModel
from cdeval.records import Estimate, Generation
from tests.metrics.clustered import MauveOfArms, mauve_of_arms

CONFIG = MetricsConfig(mauve_seeds=2)


def text(name: object, ids: Sequence[int], words: str = "") -> Generation:
    return Generation(str(name), "p", (5,), None, words, tuple(ids), None, None)


def random_texts(seed: int, count: int, length: int = 6) -> list[Generation]:
    rng = np.random.default_rng(seed)
    return [text(i, rng.integers(2, 120, size=length).tolist()) for i in range(count)]


@pytest.fixture
def judge(tiny: Callable[[str], LanguageModel]) -> TextReader:
    return TextReader(tiny("gpt2"), retokenise=False)


def test_pairs_are_one_prompts_and_one_length(judge: TextReader):
    ours = [text("a", [1, 2, 3]), text("b", [4]), text("c", [5, 6])]
    theirs = [text("c", [7, 8, 9]), text("a", [1, 1])]
    assert pair_up(ours, theirs, judge) == [Pair("a", (1, 1), (1, 2)), Pair("c", (7, 8), (5, 6))]


def test_pairs_without_tokens_are_left_out(judge: TextReader):
    assert pair_up([text("a", []), text("b", [1])], [text("a", [1]), text("b", [])], judge) == []


def test_pairs_end_at_the_context(judge: TextReader):
    (pair,) = pair_up([text("a", [3] * 400)], [text("a", [4] * 300)], judge)
    assert len(pair.human) == len(pair.generated) == 256


def test_another_featurizer_reads_the_words(tiny: Callable[[str], LanguageModel]):
    other = TextReader(tiny("llama"), retokenise=True)
    words = other.scorer.tokenizer("the old river", add_special_tokens=False)["input_ids"]
    (pair,) = pair_up([text("a", [1], "the old river")], [text("a", [2, 3], "the old river")], other)
    assert list(pair.generated) == words
    assert len(words) > 2


def one(found: MauveOfArms, arm: str = "arm") -> Estimate:
    return found.estimates[arm]["mauve"]


def test_value_counts_and_note(judge: TextReader):
    arm, human = [*random_texts(0, 30), text("alone", [7, 8])], [*random_texts(1, 30), text("other", [9])]
    arm[3] = text(3, [])
    arm[4] = text(4, arm[4].token_ids[:2])
    every = mauve_of_arms({"arm": arm}, human, judge, CONFIG, 0)
    assert set(every.estimates["arm"]) == set(MEASURES)
    for found in every.estimates["arm"].values():
        assert 0 < found.value <= 1
        assert found.low <= found.value <= found.high
        assert (found.n, found.missing) == (29, 2)
    parts = ("tiny gpt2", "2 to 6 tokens", "29 texts a side", "3 clusters", "2 k-means seeds", "too few texts")
    for part in (*parts, "clustered with the human texts,"):
        assert part in one(every).note
    assert every.estimates["arm"]["mauve_star"].value != one(every).value


def test_the_curve_and_the_clusters_are_kept(judge: TextReader):
    """A plot and a comparison need no second clustering; the curve's area is the value when there is one seed."""
    human, arm = random_texts(1, 24), random_texts(2, 24)
    found = mauve_of_arms({"arm": arm, "human": human}, human, judge, MetricsConfig(mauve_seeds=1), 0)
    assert set(found.curves) == set(found.codes) == {"arm"}
    x, y = np.array(found.curves["arm"]).T
    assert found.curves["arm"][0] == (1.0, 0.0)
    assert ((x[:-1] - x[1:]) * (y[:-1] + y[1:])).sum() / 2 == pytest.approx(one(found).value)
    assert found.codes["arm"].ids == tuple(generation.id for generation in arm)


def test_one_arm_scores_as_mauve_text_does(judge: TextReader):
    """The oracle: same features, same clusters, same seeds; a slip in the quantisation differs here."""
    human, arm = random_texts(1, 60), random_texts(2, 60)
    shared = mauve_of_arms({"arm": arm}, human, judge, CONFIG, 3).estimates["arm"]
    pairwise = MetricsConfig(mauve_seeds=2, mauve_codebook=Codebook.pairwise)
    published = mauve_of_arms({"arm": arm}, human, judge, pairwise, 3).estimates["arm"]
    for name in MEASURES:
        assert shared[name].value == pytest.approx(published[name].value, rel=1e-9), name
    assert "by mauve-text" in published["mauve"].note
    assert "by mauve-text" not in shared["mauve"].note


def test_arms_share_one_codebook(judge: TextReader, monkeypatch: pytest.MonkeyPatch):
    """An arm that says what another says scores the same, whatever k-means does; order and labels decide nothing."""
    human, arm, third = random_texts(1, 24), random_texts(2, 24), random_texts(3, 24, length=4)
    asked: list[int] = []
    monkeypatch.setattr(module, "quantise", lambda f, k, seeds: (asked.append(len(f)), quantise(f, k, seeds))[1])
    found = mauve_of_arms({"a": arm, "b": arm, "c": third, "human": human}, human, judge, CONFIG, 0)
    assert asked == [24 * 3 + 24 * 2]  # the human texts once at either length, and not once more as an arm
    assert one(found, "a") == one(found, "b")
    assert "all 3 arms" in one(found, "a").note
    turned = mauve_of_arms({"c": third, "human": human, "b": arm, "a": arm}, human, judge, CONFIG, 0)
    assert turned.estimates == found.estimates


def test_pairwise_arms_do_not_disturb_each_other(judge: TextReader):
    config = MetricsConfig(mauve_seeds=2, mauve_codebook=Codebook.pairwise)
    human, first, second = random_texts(1, 24), random_texts(2, 24), random_texts(3, 24, length=4)
    together = mauve_of_arms({"one": first, "two": second, "human": human}, human, judge, config, 0)
    assert one(together, "two") == one(mauve_of_arms({"two": second}, human, judge, config, 0), "two")
    assert one(together, "one") != one(together, "two")


def test_a_broken_arm_does_not_coarsen_the_others(judge: TextReader):
    """Clusters are counted for the arm with the most texts: three texts must not leave the others with two clusters."""
    human, arm = random_texts(1, 60), random_texts(2, 60)
    found = mauve_of_arms({"arm": arm, "broken": random_texts(3, 3)}, human, judge, CONFIG, 0)
    assert found.codes["arm"].clusters == 6
    assert math.isnan(one(found, "broken").low)
    assert "no interval" in one(found, "broken").note


def test_texts_are_read_once_and_kept(judge: TextReader, tmp_path: Path):
    human, arm, other = random_texts(1, 10), random_texts(2, 10), random_texts(3, 10)
    read: list[int] = []
    hook = judge.scorer.model.base_model.register_forward_pre_hook(
        lambda model, args, kwargs: read.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    cache = FeatureCache(tmp_path)
    first = mauve_of_arms({"one": arm, "two": arm, "human": human}, human, judge, CONFIG, 0, cache)
    assert sum(read) == 20
    again = mauve_of_arms({"one": arm, "two": arm, "human": human}, human, judge, CONFIG, 0, cache)
    assert sum(read) == 20
    assert one(again, "one") == one(first, "one")
    mauve_of_arms({"three": other}, human, judge, CONFIG, 0, cache)
    assert sum(read) == 30  # only the new arm: the human texts are the study's
    hook.remove()


@pytest.mark.parametrize(
    ("human", "reason"),
    [
        (None, "no human texts"),
        ([], "no human texts"),
        (random_texts(1, 1), "fewer than two"),
        ("arm", "are the human"),
    ],
)
def test_no_value_has_a_reason(judge: TextReader, human: list[Generation] | str | None, reason: str):
    arm = random_texts(0, 5)
    every = mauve_of_arms({"arm": arm}, arm if isinstance(human, str) else human, judge, CONFIG, 0)
    assert not every.curves
    for found in every.estimates["arm"].values():
        assert math.isnan(found.value)
        assert math.isnan(found.low)
        assert reason in found.note
        assert found.n + found.missing == 5


def test_missing_library_costs_the_value_not_the_run(judge: TextReader, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "unavailable", lambda codebook: "mauve-text is away")
    found = one(mauve_of_arms({"arm": random_texts(0, 5)}, random_texts(1, 5), judge, CONFIG, 0))
    assert math.isnan(found.value)
    assert (found.n, found.missing, found.note) == (0, 5, "mauve-text is away")
