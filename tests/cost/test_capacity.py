"""How many lanes fit: against the tensors that a run really holds."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cdeval.config.amateur import Amateur
from cdeval.config.schema import ExecutionConfig
from cdeval.cost import capacity
from cdeval.cost.memory import slot_bytes
from cdeval.decode import engine
from cdeval.decode.lanes import Lane
from cdeval.models.loading import LanguageModel
from cdeval.models.truncate import without_blocks
from tests.decode.oracles import setting


def test_a_lane_takes_what_is_reckoned(every_tiny: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide of the truth would mean out of memory, or a GPU half empty."""
    kept: list[engine._Run] = []
    monkeypatch.setattr(engine._Run, "continuations", lambda run: kept.append(run) or [])
    how = setting(max_new_tokens=40)
    engine.decode_batch(every_tiny, [Lane((5, 6, 7), how)] * 4, 8, lambda _n: None)
    (run,) = kept
    held = sum(buffer.nbytes for layer in run._reader.cache.layers for buffer in (layer.keys, layer.values)) / 4
    assert run._reader.cache.layers[0].keys.shape[2] * slot_bytes(every_tiny) == held, "slot_bytes is what a slot takes"
    reckoned = capacity.lane_bytes(every_tiny, 5, 43, 8)
    assert held / 2 < reckoned < 4 * held


def test_auto_fills_the_free_memory_and_no_more(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = tiny("llama")
    lane = capacity.lane_bytes(lm, 5, 160, 8)
    for free, expected in [(0, 1), (10.5 * lane / capacity.SHARE, 10), (1e15, 160 // 5)]:
        monkeypatch.setattr(capacity, "free_bytes", lambda _device, free=free: int(free))
        assert capacity.lanes_at_once(ExecutionConfig(), lm, 5, 160) == expected
    assert capacity.lanes_at_once(ExecutionConfig(max_lanes=7), lm, 5, 160) == 7
    assert capacity.lane_bytes(lm, 5, 160, 0) > capacity.lane_bytes(lm, 5, 160, 8), (
        "without compaction a lane grows wider"
    )
    more = capacity.lane_bytes(lm, 5, 160, 8, head_rows=8) - lane
    assert more == 5 * 7 * 128 * 4, "seven more rows of logits a beam"


def test_an_amateurs_own_cache_takes_room(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the blocks have half of the slots' bytes; what is no model has no cache."""
    kept: list[engine._Run] = []
    monkeypatch.setattr(engine._Run, "continuations", lambda run: kept.append(run) or [])
    lm = tiny("llama")
    pruned = without_blocks(lm, (2, 3))
    how = setting(amateur=Amateur("pruned", settings=(("left_out", (2, 3)),)), max_new_tokens=40)
    engine.decode_batch(lm, [Lane((5, 6, 7), how)] * 4, 8, amateur_models={how.amateur: pruned})
    (run,) = kept
    ((source, _, _),) = run._amateurs._sources
    own = capacity.own_slot_bytes(pruned)
    assert (own, capacity.own_slot_bytes(None)) == (slot_bytes(lm) // 2, 0)
    whole, half = (
        sum(buffer.nbytes for layer in cache.layers for buffer in (layer.keys, layer.values))
        for cache in (run._reader.cache, source._reader.cache)
    )
    assert half == whole // 2
    more = capacity.lane_bytes(lm, 5, 43, 8, own_slot=own) - capacity.lane_bytes(lm, 5, 43, 8)
    assert half / 4 / 2 < more < 4 * half / 4


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert capacity._container_bytes(tmp_path) == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert capacity._container_bytes(tmp_path) > 2**60
    assert capacity._container_bytes(tmp_path / "none") > 2**60
    assert 0 < capacity.free_bytes(torch.device("cpu")) < 2**60
