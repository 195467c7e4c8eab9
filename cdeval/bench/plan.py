"""The plan of the timing: arms are interleaved, after a full-length warm-up of each, on equal work.

    warm-up     A B C                      untimed, full length: short ones leave allocations to the first timed pass
    repeats     A B C   A B C   A B C      a machine that slows down slows all arms alike

Medians with the extremes beside them: few passes make no interval. Every pass is checked to have produced as many texts
of as many tokens as its arm says, so that no arm can be fast by doing less.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import NamedTuple

PROBE_TOKENS = 4  # of the short pass that estimates a group's time
COMPILING = 120.0  # seconds that are set aside for a group that compiles


class Pass(NamedTuple):
    """The result of one pass of an arm."""

    texts: tuple[tuple[int, ...], ...]  # token ids, the settings of a prompt side by side
    peak_slots: int | None = None  # most key-value slots that a lane held at once, where the arm counts them


Run = Callable[[int], Pass]  # decodes everything, that many tokens a text


@dataclass(frozen=True, slots=True)
class BenchArm:
    """One way to make texts."""

    label: str
    run: Run
    texts: int  # a pass
    new_tokens: int  # a text
    batches: int = 1  # decoded one after the other
    twin: str | None = None  # arm of the same group that should produce the same tokens
    series: str = ""  # its line in a plot of growth
    x: int | None = None  # its place on that line
    least: float = math.nan  # seconds that this machine's limits leave to a pass (`cdeval.bench.limits`)


@dataclass(frozen=True, slots=True)
class BenchGroup:
    """Arms that are compared with each other."""

    name: str
    title: str
    arms: tuple[BenchArm, ...]
    reference: str  # label of the arm that ratios are over
    repeats: int
    warm_up: bool = True
    per_token: bool = False  # ratios of seconds per token, where arms differ in size on purpose
    axis: str = ""  # what grows, where the arms are points of lines
    compiles: bool = False  # an arm is compiled at its first pass, which takes a minute or fails: never run to estimate


@dataclass(frozen=True, slots=True)
class BenchTiming:
    """The timed passes of one arm."""

    label: str
    texts: int
    new_tokens: int
    batches: int
    seconds: tuple[float, ...]  # a pass each
    peak_slots: int | None
    twin: str | None
    same_tokens: float = math.nan  # share of tokens equal to its twin's, place by place; NaN without a twin
    same_texts: float = math.nan  # share of texts equal to its twin's; NaN without a twin
    series: str = ""
    x: int | None = None
    least: float = math.nan

    @property
    def of_limit(self) -> float:
        """The share of the machine's roofline that the arm reaches; NaN where the limit is not known."""
        return self.least / self.median

    @property
    def median(self) -> float:
        """The median time of a pass [s]."""
        return median(self.seconds)

    @property
    def ms_per_step(self) -> float:
        """Median time of one decoding step of one batch, the prefill spread over them."""
        return 1e3 * self.median / (self.new_tokens * self.batches)

    @property
    def tokens_per_second(self) -> float:
        """Tokens of the produced texts a second, whatever the beams."""
        return self.texts * self.new_tokens / self.median


@dataclass(frozen=True, slots=True)
class GroupResult:
    """A timed group."""

    name: str
    title: str
    reference: str
    per_token: bool
    axis: str
    timings: Mapping[str, BenchTiming] = field(default_factory=dict)

    def ratio(self, label: str) -> float:
        """Median time over the reference's, per token where the group says so; 0.8 is a fifth faster."""
        timing, reference = self.timings[label], self.timings[self.reference]
        if self.per_token:
            return reference.tokens_per_second / timing.tokens_per_second
        return timing.median / reference.median


def schedule(arms: Sequence[BenchArm], repeats: int) -> Iterator[tuple[int, BenchArm]]:
    """(turn, arm) in the order of execution; turn 0 is the warm-up."""
    return ((turn, arm) for turn in range(repeats + 1) for arm in arms)


def measure(
    group: BenchGroup, clock: Callable[[], float], say: Callable[[str], None] = lambda _line: None
) -> GroupResult:
    """Time a group.

    Args: clock: seconds, once the device has finished what it was given. say: told after every turn.
    Raises: RuntimeError: an arm produced other numbers of texts or tokens than it says.
    """
    seconds: dict[str, list[float]] = {arm.label: [] for arm in group.arms}
    last: dict[str, Pass] = {}
    for turn, arm in schedule(group.arms, group.repeats):
        if turn == 0 and not group.warm_up:
            continue
        started = clock()
        done = arm.run(arm.new_tokens)
        elapsed = clock() - started
        check_work(arm, done, arm.new_tokens)
        last[arm.label] = done
        if turn > 0:
            seconds[arm.label].append(elapsed)
        if arm is group.arms[-1]:
            say(f"  {group.name}: " + (f"pass {turn} of {group.repeats}" if turn else "warmed up"))
    timings = {arm.label: _timing(arm, seconds[arm.label], last) for arm in group.arms}
    return GroupResult(group.name, group.title, group.reference, group.per_token, group.axis, timings)


def estimate(group: BenchGroup, clock: Callable[[], float]) -> float:
    """Seconds that `measure` will take, from one short pass of each arm; also finds out whether they all work."""
    total = 0.0
    for arm in group.arms:
        tokens = min(PROBE_TOKENS, arm.new_tokens)
        started = clock()
        check_work(arm, arm.run(tokens), tokens)
        total += (clock() - started) * arm.new_tokens / tokens
    return total * (group.repeats + group.warm_up)


def check_work(arm: BenchArm, done: Pass, new_tokens: int) -> None:
    """Equal work in all arms. Raises: RuntimeError: another number of texts or tokens than the arm says."""
    lengths = sorted({len(text) for text in done.texts})
    if len(done.texts) != arm.texts or lengths != [new_tokens]:
        raise RuntimeError(
            f"{arm.label}: expected {arm.texts} texts of {new_tokens} tokens, got {len(done.texts)} of {lengths} tokens"
        )


def same_share(texts: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> float:
    """Share of tokens that are equal, place by place; the texts have equal lengths."""
    pairs = [a == b for text, other in zip(texts, others, strict=True) for a, b in zip(text, other, strict=True)]
    return sum(pairs) / len(pairs)


def exponents(points: Sequence[tuple[float, float]]) -> list[float]:
    """Compute the p of seconds ~ x^p between neighbouring points (x, seconds): 0 is free, 1 is linear."""
    return [math.log(after[1] / before[1]) / math.log(after[0] / before[0]) for before, after in pairwise(points)]


def _timing(arm: BenchArm, seconds: Sequence[float], last: Mapping[str, Pass]) -> BenchTiming:
    mine, same_tokens, same_texts = last[arm.label], math.nan, math.nan
    if arm.twin is not None:
        other = last[arm.twin]
        same_tokens = same_share(mine.texts, other.texts)
        same_texts = sum(a == b for a, b in zip(mine.texts, other.texts, strict=True)) / arm.texts
    return BenchTiming(
        label=arm.label,
        texts=arm.texts,
        new_tokens=arm.new_tokens,
        batches=arm.batches,
        seconds=tuple(seconds),
        peak_slots=mine.peak_slots,
        twin=arm.twin,
        same_tokens=same_tokens,
        same_texts=same_texts,
        series=arm.series,
        x=arm.x,
        least=arm.least,
    )
