"""Timers against known delays, bytes against tensors of known size."""

import math
import time
from collections.abc import Callable

import pytest
import torch

from cdeval.cost.latency import Latency, measure
from cdeval.cost.memory import peak_bytes, slot_bytes, weights_bytes
from cdeval.decode import engine
from cdeval.models.loading import LanguageModel
from tests.decode.oracles import early_exit, setting


def test_every_arm_is_timed_in_turn_and_a_slow_expert_shows(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that only forward passes move, by 20 ms: prefill is one pass, n tokens take n - 1 more, and the warm-up
    is not booked."""
    lm = tiny("gpt2")
    calls: list[int] = []
    monkeypatch.setattr(engine, "_now", lambda _device: 0.02 * len(calls))
    handle = lm.parts.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        arms = {"expert": setting(max_new_tokens=5), "exit": early_exit(2, max_new_tokens=5)}
        found = measure(lm, arms, [(3, 4, 5)], repeats=2, compact_every=8)
    finally:
        handle.remove()
    assert len(calls) == 2 * (2 + 1) * 5
    for latency in found.values():
        assert latency.prefill_seconds == pytest.approx([0.02] * 2)
        assert latency.decode_seconds == pytest.approx([0.08] * 2)
        assert (latency.prefill, latency.per_token) == pytest.approx((0.02, 0.02))


def test_the_clock_is_a_wall_clock(tiny: Callable[[str], LanguageModel]) -> None:
    """Sleep is no work of the processor, and counts all the same."""
    lm = tiny("gpt2")
    handle = lm.parts.blocks[0].register_forward_pre_hook(lambda *_: time.sleep(0.02))
    try:
        found = measure(lm, {"expert": setting(max_new_tokens=3)}, [(3, 4, 5)], repeats=1, compact_every=8)
    finally:
        handle.remove()
    assert found["expert"].prefill >= 0.02
    assert found["expert"].per_token >= 0.02


def test_no_passes_and_single_tokens_have_no_latency() -> None:
    assert math.isnan(Latency((), (), 5, 0).prefill)
    assert math.isnan(Latency((1.0,), (0.0,), 1, 3).per_token)


def test_bytes_of_weights_and_slots(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("llama")  # tied head: 128 x 32 embeddings once
    by_hand = 128 * 32 + 32 + 4 * (2 * 32 + 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48)
    assert weights_bytes(lm) == 4 * by_hand
    assert slot_bytes(lm) == 2 * 4 * 2 * 8 * 4  # keys and values, 4 blocks, 2 heads of 8, float32


def test_the_peak_sees_a_large_tensor() -> None:
    before = peak_bytes(torch.device("cpu"))
    held = torch.ones(before // 4 + 50_000_000)  # float32: more than all that was held before
    assert peak_bytes(torch.device("cpu")) >= held.numel() * 4
    assert peak_bytes(torch.device("cpu")) - before == pytest.approx(held.numel() * 4, rel=1.0)
