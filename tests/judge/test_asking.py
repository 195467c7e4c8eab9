"""Both orders, the mean of the distribution, and answers that outlive a killed command."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cdeval.errors import ModelError
from cdeval.judge.asking import AskedPair, JudgeAnswer, judge_all
from cdeval.metrics.features import NO_CACHE, FeatureCache
from cdeval.store.signals import Stopped

NOBODY: list[str] = []


@dataclass
class Biased:
    """Likes what stands first, and longer texts a little."""

    name: str = "biased"
    identity: str = "biased"
    symmetric: bool = False
    fails_after: int = 1000
    asked: list[tuple[str, str]] = field(default_factory=list)

    def ask(self, prompt: str, first: str, second: str) -> JudgeAnswer:
        if len(self.asked) == self.fails_after:
            raise ModelError("killed")
        self.asked.append((first, second))
        share = 0.7 if len(first) > len(second) else 0.6
        return JudgeAnswer(share, 0.9 - share, 0.1, 10, float("nan"), 0.0)


PAIRS = [AskedPair(f"{place}", "p", "long text", "short") for place in range(4)]
PAIRS = [one._replace(a=f"{one.a} {one.id}") for one in PAIRS]


def test_the_order_cancels_out() -> None:
    """Each text is preferred where it stands first; over both orders the longer one is, by its own merit."""
    judge = Biased()
    (found,) = judge_all(judge, PAIRS[:1], NO_CACHE, NOBODY.append)
    assert judge.asked == [("long text 0", "short"), ("short", "long text 0")]
    assert found.orders == pytest.approx((0.75, 1 - 0.65))
    assert found.preference == pytest.approx(0.55)
    assert found.firsts == pytest.approx(0.7)
    assert not found.agrees
    assert found.likeliest == 0.5, "by its likeliest answers alone it prefers neither"
    assert (found.tie, found.tokens) == (pytest.approx(0.1), 20)
    assert found.sign(0.01) == 1
    assert found.sign(0.06) == 0


def test_one_order_is_enough_where_it_cannot_matter() -> None:
    judge = Biased(symmetric=True)
    (found,) = judge_all(judge, PAIRS[:1], NO_CACHE, NOBODY.append)
    assert len(judge.asked) == 1
    assert found.agrees
    assert found.likeliest == 1


def test_nothing_is_asked_twice_after_a_failure(tmp_path: Path) -> None:
    """Every answer is on disk as soon as it is given, with what it took; another question is another answer."""
    cache = FeatureCache(tmp_path)
    with pytest.raises(ModelError):
        judge_all(Biased(fails_after=5), PAIRS, cache, NOBODY.append)
    again = Biased()
    found = judge_all(again, PAIRS, cache, NOBODY.append)
    assert len(again.asked) == 2 * len(PAIRS) - 5
    fresh = judge_all(Biased(), PAIRS, NO_CACHE, NOBODY.append)
    assert [one._replace(seconds=0, flops=0) for one in found] == [one._replace(seconds=0, flops=0) for one in fresh]
    assert all(one.seconds > 0 for one in found)
    assert all(one.flops != one.flops for one in found), "a count that is not known stays so"
    other = Biased(identity="another question")
    judge_all(other, PAIRS[:1], cache, NOBODY.append)
    assert len(other.asked) == 2


def test_a_stop_says_what_is_kept(tmp_path: Path) -> None:
    class Interrupted(Biased):
        def ask(self, prompt: str, first: str, second: str) -> JudgeAnswer:
            raise KeyboardInterrupt

    with pytest.raises(Stopped) as stopped:
        judge_all(Interrupted(), PAIRS, FeatureCache(tmp_path), NOBODY.append)
    assert (stopped.value.number, stopped.value.saved) == (2, "every answer of the judge is on disk")
