"""Timing without a clock: what is run, in which order, and what comes of the numbers."""

import math
from collections.abc import Callable

import pytest

from cdeval.bench.plan import (
    BenchArm,
    BenchGroup,
    BenchTiming,
    GroupResult,
    Pass,
    Run,
    estimate,
    exponents,
    measure,
    same_share,
)


class Clock:
    """Time that passes only when an arm works."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.log: list[tuple[str, int]] = []

    def __call__(self) -> float:
        return self.seconds

    def arm(self, label: str, seconds: Callable[[int], float], texts: int = 1, **more: object) -> BenchArm:
        """An arm whose n-th call takes `seconds(n)`; its texts are the label's first letter, repeated."""

        def run(new_tokens: int) -> Pass:
            self.log.append((label, new_tokens))
            self.seconds += seconds(sum(name == label for name, _ in self.log) - 1)
            return Pass(((ord(label[0]),) * new_tokens,) * texts)

        return BenchArm(**{"label": label, "run": run, "texts": texts, "new_tokens": 8, **more})  # type: ignore[arg-type]


def group(*arms: BenchArm, repeats: int = 3, **more: object) -> BenchGroup:
    return BenchGroup("g", "title", arms, arms[0].label, repeats, **more)  # type: ignore[arg-type]


def test_arms_are_interleaved_after_a_full_length_warm_up() -> None:
    clock = Clock()
    measure(group(clock.arm("a", lambda _: 1.0), clock.arm("b", lambda _: 2.0), repeats=2), clock)
    assert clock.log == [("a", 8), ("b", 8)] * 3


def test_the_warm_up_is_not_in_the_numbers() -> None:
    clock = Clock()
    calls = [100.0, 3.0, 9.0, 4.0]
    result = measure(group(clock.arm("a", lambda call: calls[call])), clock)
    assert result.timings["a"].seconds == (3.0, 9.0, 4.0)
    assert result.timings["a"].median == 4.0


def test_without_a_warm_up_every_pass_counts() -> None:
    clock = Clock()
    result = measure(group(clock.arm("a", lambda call: 1.0 + call), repeats=2, warm_up=False), clock)
    assert result.timings["a"].seconds == (1.0, 2.0)


def lying(answer: Callable[[int], tuple[tuple[int, ...], ...]]) -> Run:
    return lambda new_tokens: Pass(answer(new_tokens))


@pytest.mark.parametrize(
    "answer",
    [
        lambda n: ((1,) * n, (1,) * (n - 1)),  # one text ended early
        lambda n: ((1,) * (n + 1),) * 2,
        lambda n: ((1,) * n,),  # a text is missing
        lambda _: (),
    ],
)
def test_an_arm_that_does_less_than_it_says_is_no_arm(answer: Callable[[int], tuple[tuple[int, ...], ...]]) -> None:
    lazy = BenchArm("lazy", lying(answer), texts=2, new_tokens=8)
    with pytest.raises(RuntimeError, match="lazy: expected 2 texts of 8 tokens"):
        measure(group(lazy), Clock())
    with pytest.raises(RuntimeError, match="expected 2 texts of 4 tokens"):
        estimate(group(lazy), Clock())


def test_the_estimate_is_what_the_group_takes_when_steps_cost_alike() -> None:
    clock = Clock()
    arms = [clock.arm("a", lambda _: 1.0), clock.arm("b", lambda _: 0.5, new_tokens=2)]
    assert estimate(group(*arms, repeats=3), clock) == pytest.approx(4 * (1.0 * 8 / 4 + 0.5))
    assert clock.log == [("a", 4), ("b", 2)], "a probe is short, and never longer than the arm"


def test_numbers_of_a_timing() -> None:
    timing = BenchTiming("a", texts=6, new_tokens=10, batches=2, seconds=(4.0, 2.0), peak_slots=None, twin=None)
    assert timing.median == 3.0
    assert timing.ms_per_step == pytest.approx(1e3 * 3.0 / 20), "two batches of ten steps each"
    assert timing.tokens_per_second == pytest.approx(60 / 3.0)


def timing(label: str, seconds: float, texts: int) -> BenchTiming:
    return BenchTiming(label, texts, new_tokens=10, batches=1, seconds=(seconds,), peak_slots=None, twin=None)


def test_ratios_are_of_time_or_of_time_per_token() -> None:
    timings = {"one": timing("one", 2.0, 1), "eight": timing("eight", 4.0, 8)}
    assert GroupResult("g", "", "one", False, "", timings).ratio("eight") == pytest.approx(2.0)
    assert GroupResult("g", "", "one", True, "", timings).ratio("eight") == pytest.approx(4.0 / 8 / 2.0)


def test_twins_are_compared_place_by_place() -> None:
    assert same_share([(1, 2, 3), (4, 5, 6)], [(1, 2, 9), (5, 4, 6)]) == pytest.approx(3 / 6)
    clock = Clock()
    arms = [clock.arm("a", lambda _: 1.0), clock.arm("again", lambda _: 1.0, twin="a")]
    arms.append(clock.arm("b", lambda _: 1.0, twin="a"))
    timings = measure(group(*arms), clock).timings
    assert (timings["again"].same_tokens, timings["again"].same_texts) == (1.0, 1.0)
    assert (timings["b"].same_tokens, timings["b"].same_texts) == (0.0, 0.0)
    assert math.isnan(timings["a"].same_tokens), "nobody to compare with is not 0 %"


def test_exponents_tell_free_from_linear_growth() -> None:
    assert exponents([(1, 3.0), (2, 3.0), (4, 6.0), (8, 24.0)]) == pytest.approx([0.0, 1.0, 2.0])
    assert exponents([(1, 3.0)]) == []
