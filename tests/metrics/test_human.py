import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from cdeval.config import MetricsConfig
from cdeval.metrics import human as module
from cdeval.metrics.human import Featurizer, Pair, mauve_estimates, pair_up
from cdeval.models.loading import LanguageModel
from cdeval.records import Generation

CONFIG = MetricsConfig(mauve_seeds=2)


def text(name: object, ids: Sequence[int], words: str = "") -> Generation:
    return Generation(str(name), "p", (5,), None, words, tuple(ids), None, None)


def random_texts(seed: int, count: int, length: int = 6) -> list[Generation]:
    rng = np.random.default_rng(seed)
    return [text(i, rng.integers(2, 120, size=length).tolist()) for i in range(count)]


@pytest.fixture
def judge(tiny: Callable[[str], LanguageModel]) -> Featurizer:
    return Featurizer(tiny("gpt2"), retokenise=False)


def test_pairs_are_one_prompts_and_one_length(judge: Featurizer):
    ours = [text("a", [1, 2, 3]), text("b", [4]), text("c", [5, 6])]
    theirs = [text("c", [7, 8, 9]), text("a", [1, 1])]
    assert pair_up(ours, theirs, judge) == [Pair((1, 1), (1, 2)), Pair((7, 8), (5, 6))]


def test_pairs_without_tokens_are_left_out(judge: Featurizer):
    assert pair_up([text("a", []), text("b", [1])], [text("a", [1]), text("b", [])], judge) == []


def test_pairs_end_at_the_context(judge: Featurizer):
    (pair,) = pair_up([text("a", [3] * 400)], [text("a", [4] * 300)], judge)
    assert len(pair.human) == len(pair.generated) == 256


def test_another_featurizer_reads_the_words(tiny: Callable[[str], LanguageModel]):
    other = Featurizer(tiny("llama"), retokenise=True)
    words = other.scorer.tokenizer("the old river", add_special_tokens=False)["input_ids"]
    (pair,) = pair_up([text("a", [1], "the old river")], [text("a", [2, 3], "the old river")], other)
    assert list(pair.generated) == words
    assert len(words) > 2


def test_value_counts_and_note(judge: Featurizer):
    arm, human = [*random_texts(0, 30), text("alone", [7, 8])], [*random_texts(1, 30), text("other", [9])]
    arm[3] = text(3, [])
    arm[4] = text(4, arm[4].token_ids[:2])
    found = mauve_estimates({"arm": arm}, human, judge, CONFIG, 0)["arm"]
    assert 0 < found.value <= 1
    assert found.low <= found.value <= found.high
    assert (found.n, found.missing) == (29, 2)
    for part in ("tiny gpt2", "2 to 6 tokens", "29 texts a side", "3 clusters", "2 k-means seeds", "too few texts"):
        assert part in found.note


def test_arms_do_not_disturb_each_other(judge: Featurizer):
    human, one, two = random_texts(1, 24), random_texts(2, 24), random_texts(3, 24, length=4)
    together = mauve_estimates({"one": one, "two": two, "human": human}, human, judge, CONFIG, 0)
    assert together["two"] == mauve_estimates({"two": two}, human, judge, CONFIG, 0)["two"]
    assert together["one"] != together["two"]


def test_texts_are_read_once(judge: Featurizer, monkeypatch: pytest.MonkeyPatch):
    read: list[tuple[int, ...]] = []
    original = module.last_hidden_features
    monkeypatch.setattr(module, "last_hidden_features", lambda s, texts: (read.extend(texts), original(s, texts))[1])
    human, arm = random_texts(1, 10), random_texts(2, 10)
    mauve_estimates({"one": arm, "two": arm, "human": human}, human, judge, CONFIG, 0)
    assert len(read) == len(set(read)) == 20


@pytest.mark.parametrize(
    ("human", "reason"),
    [
        (None, "no human texts"),
        ([], "no human texts"),
        (random_texts(1, 1), "fewer than two"),
        ("arm", "are the human"),
    ],
)
def test_no_value_has_a_reason(judge: Featurizer, human: list[Generation] | str | None, reason: str):
    arm = random_texts(0, 5)
    found = mauve_estimates({"arm": arm}, arm if isinstance(human, str) else human, judge, CONFIG, 0)["arm"]
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    assert reason in found.note
    assert found.n + found.missing == 5


def test_missing_library_costs_the_value_not_the_run(judge: Featurizer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "unavailable", lambda: "mauve-text is away")
    found = mauve_estimates({"arm": random_texts(0, 5)}, random_texts(1, 5), judge, CONFIG, 0)["arm"]
    assert math.isnan(found.value)
    assert (found.n, found.missing, found.note) == (0, 5, "mauve-text is away")
