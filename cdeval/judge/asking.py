"""Asking a judge about pairs, in both orders, and keeping each answer on disk as soon as it is given.

A judge may like whatever stands first. So each pair is asked twice, the second time with the texts swapped, and the
preference is the mean over both orders of the probability that the judge gives a text:

    preference of a = 1/2 · Σ over orders of  P(a) + 1/2 · P(equally good)        in [0, 1]

The mean of a judge's distribution agrees with people better than its likeliest answer (Wang et al. 2025, "Improving
LLM-as-a-Judge Inference with the Judgment Distribution", arXiv 2503.03064).

An answer is kept under all that makes it, the judge, its question and both texts (`cdeval.metrics.features`): a command
that is killed and given again asks only what was not answered.
"""

import signal
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from cdeval.metrics.features import FeatureCache, key
from cdeval.store.progress import Steps
from cdeval.store.signals import Stopped


class JudgeAnswer(NamedTuple):
    """What a judge says of two texts in one order, and what asking it took."""

    first: float  # probability that the first one is better; the three add up to 1
    second: float
    tie: float
    tokens: float  # read and written; NaN: nobody counts them
    flops: float  # NaN: not known
    seconds: float


class PairJudge(Protocol):
    """A model that judges pairs."""

    @property
    def name(self) -> str:
        """The name in tables."""

    @property
    def identity(self) -> str:
        """All that tells its answers from those of any other judge: model, question, number format."""

    @property
    def symmetric(self) -> bool:
        """Whether the order of the texts cannot matter, so that one is enough."""

    def ask(self, prompt: str, first: str, second: str) -> JudgeAnswer:
        """Judge two continuations of a prompt. `seconds` is the caller's to measure. Raises: CdevalError: it cannot."""


class AskedPair(NamedTuple):
    """Two continuations of a prompt that are to be judged."""

    id: str
    prompt: str
    a: str
    b: str


class Judgement(NamedTuple):
    """What a judge says of a pair, over both orders."""

    preference: float  # of a, in [0, 1]
    tie: float  # mean probability that both are equally good
    likeliest: float  # mean over both orders of the likeliest answer: 1 for a, 0 for b, 1/2 for a tie
    orders: tuple[float, ...]  # the preference of a in each order: a first, b first
    firsts: float  # mean preference of what stands first
    tokens: float  # of all orders
    flops: float
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether the orders prefer the same text."""
        return len({(one > 0.5) - (one < 0.5) for one in self.orders}) == 1

    def sign(self, within: float) -> int:
        """1: a is preferred, −1: b, 0: the preference is no further from 1/2 than `within`."""
        off = self.preference - 0.5
        return 0 if abs(off) <= within else 1 if off > 0 else -1


def judge_all(
    judge: PairJudge, pairs: Sequence[AskedPair], cache: FeatureCache, say: Callable[[str], None]
) -> list[Judgement]:
    """Judge pairs, one after the other.

    Raises: CdevalError: as `PairJudge.ask`. Stopped: at a signal. What was answered is kept in both cases.
    """
    found: list[Judgement] = []
    try:
        with Steps(say, f"judged by {judge.name}: pair", len(pairs)) as steps:
            for pair in pairs:
                found.append(_judgement(judge, pair, cache))
                steps.advance()
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, Stopped) else signal.SIGINT
        raise Stopped(number, "every answer of the judge is on disk") from None
    return found


def _judgement(judge: PairJudge, pair: AskedPair, cache: FeatureCache) -> Judgement:
    forth = _answer(judge, pair.prompt, pair.a, pair.b, cache)
    answers = [forth] if judge.symmetric else [forth, _answer(judge, pair.prompt, pair.b, pair.a, cache)]
    of_first = [one.first + one.tie / 2 for one in answers]
    orders = tuple(share if place == 0 else 1 - share for place, share in enumerate(of_first))
    modes = [_likeliest(one) if place == 0 else 1 - _likeliest(one) for place, one in enumerate(answers)]
    count = len(answers)
    return Judgement(
        preference=sum(orders) / count,
        tie=sum(one.tie for one in answers) / count,
        likeliest=sum(modes) / count,
        orders=orders,
        firsts=sum(of_first) / count,
        tokens=sum(one.tokens for one in answers),
        flops=sum(one.flops for one in answers),
        seconds=sum(one.seconds for one in answers),
    )


def _likeliest(answer: JudgeAnswer) -> float:
    """The likeliest answer as a preference of the first text; between equals, of neither."""
    most = max(answer[:3])
    best = [place for place, share in enumerate(answer[:3]) if share == most]
    return 0.5 if len(best) > 1 else (1.0, 0.0, 0.5)[best[0]]


def _answer(judge: PairJudge, prompt: str, first: str, second: str, cache: FeatureCache) -> JudgeAnswer:
    """The judge's answer, from disk where it was given before. NaN is none on disk: a count that is not known is −1."""

    def asked(_missing: list[int]) -> np.ndarray:
        began = time.perf_counter()
        answer = judge.ask(prompt, first, second)
        row = np.array(answer._replace(seconds=time.perf_counter() - began), dtype=np.float64)
        return np.nan_to_num(row, nan=-1.0)[None]

    row = cache.rows([key("judgement", judge.identity, prompt, first, second)], asked)[0]
    shares, taken = row[:3].tolist(), [float("nan") if one < 0 else one for one in row[3:].tolist()]
    return JudgeAnswer(*shares, *taken)
