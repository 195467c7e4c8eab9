"""Timers against known delays, bytes against tensors of known size, what others take against what they took."""

import math
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from cdeval.cost import load
from cdeval.cost.latency import Latency, measure
from cdeval.cost.load import OtherLoad
from cdeval.cost.memory import WorkingMemory, slot_bytes, weights_bytes
from cdeval.decode import clock
from cdeval.models.loading import LanguageModel
from cdeval.records import Prompt
from tests.decode.oracles import early_exit, setting

CPU = torch.device("cpu")
PROMPT = Prompt("a", "", (3, 4, 5), None, None)


def test_every_arm_is_timed_in_turn_and_a_slow_expert_shows(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that only forward passes move, by 20 ms: prefill is one pass, n tokens take n - 1 more, and the warm-up
    is not booked. Two runs of five tokens are exactly 2 x 4 intervals."""
    lm = tiny("gpt2")
    calls: list[int] = []
    monkeypatch.setattr(clock, "now", lambda _device: 0.02 * len(calls))
    handle = lm.parts.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        arms = {"expert": setting(max_new_tokens=5), "exit": early_exit(2, max_new_tokens=5)}
        found = measure(lm, arms, [PROMPT], repeats=2, compact_every=2)
    finally:
        handle.remove()
    assert len(calls) == 2 * (2 + 1) * 5
    for latency in found.values():
        assert latency.prefill_seconds == pytest.approx([0.02] * 2)
        assert [len(tokens) for tokens in latency.token_seconds] == [4, 4]
        assert [second for tokens in latency.token_seconds for second in tokens] == pytest.approx([0.02] * 8)
        assert latency.wall_seconds == pytest.approx([0.1] * 2)
        assert latency.per_token() == pytest.approx([0.02] * 2)


def test_the_clock_is_a_wall_clock_and_a_slow_token_shows_in_its_place(tiny: Callable[[str], LanguageModel]) -> None:
    """Sleep is no work of the processor, and counts all the same; the third pass sleeps longer."""
    lm = tiny("gpt2")
    calls: list[int] = []

    def doze(*_: object) -> None:
        calls.append(1)
        time.sleep(0.2 if len(calls) % 4 == 3 else 0.02)

    handle = lm.parts.blocks[0].register_forward_pre_hook(doze)
    try:
        found = measure(lm, {"expert": setting(max_new_tokens=4)}, [PROMPT], repeats=1, compact_every=8)["expert"]
    finally:
        handle.remove()
    (tokens,) = found.token_seconds
    assert found.prefill_seconds[0] >= 0.02
    assert min(tokens) >= 0.02
    assert tokens[1] >= 0.2
    assert tokens.index(max(tokens)) == 1
    assert found.wall_seconds[0] >= found.prefill_seconds[0] + sum(tokens)


def test_no_passes_and_single_tokens_have_no_latency(tiny: Callable[[str], LanguageModel]) -> None:
    assert measure(tiny("gpt2"), {"a": setting()}, [PROMPT], 0, 8) == {"a": Latency()}
    assert Latency((1.0,), ((),)).per_token() == []


def test_bytes_of_weights_and_slots(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("llama")  # tied head: 128 x 32 embeddings once
    by_hand = 128 * 32 + 32 + 4 * (2 * 32 + 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48)
    assert weights_bytes(lm) == 4 * by_hand
    assert slot_bytes(lm) == 2 * 4 * 2 * 8 * 4  # keys and values, 4 blocks, 2 heads of 8, float32


def taken() -> list[float]:
    """What several pieces of work took, in millions of float32; for a process of its own."""
    held = torch.ones(25_000_000)  # 100 MB, there before

    def took(work: Callable[[], object]) -> float:
        with WorkingMemory(CPU) as working:
            work()
        return working.bytes / 4e6

    found = [
        took(lambda: None),
        took(lambda: torch.ones(50_000_000)),
        took(lambda: (torch.ones(10_000_000), torch.ones(10_000_000))),
        took(lambda: [torch.ones(10_000_000).sum() for _ in range(3)]),
        took(lambda: None),
    ]
    assert held.numel() == 25_000_000
    return found


def test_working_memory_is_what_was_held_at_once_on_top() -> None:
    """Kills: a peak that never falls, one that counts what was there before, one that adds up what came in turn.

    In a process of its own: an allocator that thousands of tests have left full of holes may put what comes in turn
    into one hole after the other, and the system then counts them together, rightly.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as pool:
        before, large, two, in_turn, after = pool.submit(taken).result()
    if math.isnan(before):
        pytest.skip("this system has no high-water mark that can be put back")
    assert large == pytest.approx(50, abs=5)
    assert two == pytest.approx(20, abs=5)
    assert in_turn == pytest.approx(10, abs=5), "one by one"
    assert after == pytest.approx(0, abs=5)


def test_other_load_is_the_machine_without_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 s on 2 processors: 12 s of work, 8 of them this process's own: others took 4 of 20."""
    times = iter([(100.0, 50.0, 5.0), (110.0, 62.0, 13.0)])
    monkeypatch.setattr(load, "_times", lambda: next(times))
    monkeypatch.setattr(load.psutil, "cpu_count", lambda: 2)
    with OtherLoad() as others:
        pass
    assert others.share == pytest.approx(0.2)


def test_own_work_is_no_other_load() -> None:
    with OtherLoad() as others:
        deadline = time.perf_counter() + 0.3
        while time.perf_counter() < deadline:
            pass
    wall, busy, own = load._times()
    assert 0 <= others.share <= 1
    assert busy >= own > 0
    assert wall > 0
