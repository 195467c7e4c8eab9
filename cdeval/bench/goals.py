"""The goals of the engine's speed, and whether they are reached: pure functions of the timed groups.

Goals are stated for the embedded model, 32 + 128 tokens, 5 beams, 2 threads; on other sizes and machines the same
ratios are shown and judged, and the reader is told so. What was not timed is NaN and not judged.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cdeval.bench.arms import BF16, CTRANSLATE2, F32, HUGGING_FACE, NAIVE, OURS, BenchSearch, Size, label
from cdeval.bench.config import BenchConfig
from cdeval.bench.plan import BenchTiming, GroupResult

Results = Mapping[str, GroupResult]
KV_TOKENS = 256  # new tokens at which the live cache is judged


class Goal(NamedTuple):
    """One claim and its measurement."""

    text: str
    measured: float  # NaN: not measured in this run
    most: float = math.inf  # the measured number shall be at most that
    least: float = 0.0  # and at least that

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where nothing was measured."""
        return None if math.isnan(self.measured) else self.least <= self.measured <= self.most


def judge(results: Results, bench: BenchConfig, prompt_tokens: int) -> list[Goal]:
    """Every goal, measured or not, in the order in which they are stated."""
    single, greedy, batch = (_Times(results, name) for name in ("single", "greedy", "batch"))
    contrast, plain = label(OURS, BenchSearch.contrast, BF16), label(OURS, BenchSearch.plain, BF16)
    over_hf_bf16 = single.ratio(contrast, label(HUGGING_FACE, BenchSearch.plain, BF16))
    over_hf_f32 = single.ratio(contrast, label(HUGGING_FACE, BenchSearch.plain, F32))
    over_greedy = greedy.ratio(label(OURS, BenchSearch.greedy_candidates, BF16), label(OURS, BenchSearch.greedy, BF16))
    eight_settings = _Times(results, "fused").ratio(f"{contrast}{Size(settings=8)}", contrast)
    many = Size(prompts=bench.sweep_prompts, settings=bench.sweep_settings)
    one_run = f"{label(HUGGING_FACE, BenchSearch.contrast, BF16)}{Size(prompts=bench.sweep_prompts)}"
    over_sweep = bench.sweep_settings * _Times(results, "sweep").ratio(one_run, f"{contrast}{many}")
    short = Size(new_tokens=bench.naive_tokens)
    over_naive = _Times(results, "naive").ratio(label(NAIVE, BenchSearch.contrast, BF16, short), f"{contrast}{short}")
    f32 = label(OURS, BenchSearch.contrast, F32)
    most = Size(prompts=max(bench.batch_sizes))
    sweep = f"{many.settings} settings x {many.prompts} prompts"
    return [
        Goal("one prompt: contrast bf16 over Hugging Face plain bf16, time", over_hf_bf16, most=0.8),
        Goal("one prompt: contrast bf16 over Hugging Face plain f32, time", over_hf_f32, most=0.35),
        Goal("one prompt: contrast f32, share of the machine's roofline", single.of_limit(f32), least=0.4),
        Goal("one prompt: contrast bf16, share of the machine's roofline", single.of_limit(contrast), least=0.4),
        Goal(f"{most.prompts} prompts: contrast bf16, share of it", batch.of_limit(f"{contrast}{most}"), least=0.5),
        Goal("one prompt: contrast over our own plain beam search, time", single.ratio(contrast, plain), most=1.10),
        Goal("one prompt: greedy contrast (candidate-only head) over plain greedy, time", over_greedy, most=1.02),
        Goal("8 prompts: contrast bf16 over CTranslate2 plain f32, tokens/s", _over_ctranslate2(results), least=2.0),
        Goal("8 fused settings over 1, time", eight_settings, most=3.0),
        Goal(f"{sweep}: times faster than as many LogitsProcessor runs", over_sweep, least=8.0),
        Goal("best batch sizes: contrast over Hugging Face plain, bf16, tokens/s", _best_batches(results), least=3.0),
        Goal(f"{bench.naive_tokens} tokens: times faster than the seed's way", over_naive, least=50.0),
        Goal(f"{KV_TOKENS} new tokens: most live KV slots over one text's", _live_kv(results, prompt_tokens), most=1.5),
    ]


class _Times:
    """The timings of one group, which may be missing."""

    def __init__(self, results: Results, name: str) -> None:
        group = results.get(name)
        self._timings = group.timings if group else {}

    def get(self, name: str) -> BenchTiming | None:
        return self._timings.get(name)

    def of_limit(self, name: str) -> float:
        """The share of the roofline; NaN where the arm is missing."""
        timing = self.get(name)
        return timing.of_limit if timing else math.nan

    def ratio(self, above: str, below: str) -> float:
        """Median over median; NaN where an arm is missing."""
        first, second = self.get(above), self.get(below)
        return first.median / second.median if first and second else math.nan


def _over_ctranslate2(results: Results) -> float:
    batch, eight = _Times(results, "batch"), Size(prompts=8)
    mine = batch.get(label(OURS, BenchSearch.contrast, BF16, eight))
    theirs = batch.get(label(CTRANSLATE2, BenchSearch.plain, F32, eight))
    return mine.tokens_per_second / theirs.tokens_per_second if mine and theirs else math.nan


def _best_batches(results: Results) -> float:
    """Compare each at its own best of the batch sizes that were timed, in groups batch and growth."""
    everything = [
        timing for name in ("batch", "growth_prompts") if name in results for timing in results[name].timings.values()
    ]
    mine = _best(everything, label(OURS, BenchSearch.contrast, BF16))
    theirs = _best(everything, label(HUGGING_FACE, BenchSearch.plain, BF16))
    return mine / theirs


def _best(timings: Iterable[BenchTiming], series: str) -> float:
    return max((timing.tokens_per_second for timing in timings if timing.series == series), default=math.nan)


def _live_kv(results: Results, prompt_tokens: int) -> float:
    timing = _Times(results, "growth_tokens").get(label(OURS, BenchSearch.contrast, BF16, Size(new_tokens=KV_TOKENS)))
    if timing is None or timing.peak_slots is None:
        return math.nan
    return timing.peak_slots / (prompt_tokens + KV_TOKENS)
