"""The cache in buckets: what lies where, across a border, after a compaction, and in a smaller bucket again."""

import pytest
import torch

from cdeval.decode import fixed_cache
from cdeval.decode.fixed_cache import FixedLaneCache, bucket_of, fit
from tests.decode.test_beam_cache import append, visible


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> FixedLaneCache:
    """Two lanes of two beams after a prompt of three tokens, in buckets of four slots; a slot's key is its number."""
    monkeypatch.setattr(fixed_cache, "BUCKET", 4)
    made = FixedLaneCache(blocks=1)
    append(made, 2, 3, start=0)
    made.open_beams(torch.arange(2), beams=2, dtype=torch.float32)
    return made


def read(cache: FixedLaneCache, start: int) -> list[list[list[int]]]:
    fit([cache])
    mask = cache.extend()
    append(cache, 2, 2, start=start)
    cache.take()
    return visible(mask)


def keys(cache: FixedLaneCache) -> list[list[float]]:
    return [[float(key) for key in lane] for lane in cache.layers[0].keys[:, 0, :, 0]]


def test_a_bucket_is_the_smallest_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixed_cache, "BUCKET", 4)
    assert [bucket_of(slots) for slots in (1, 4, 5, 8)] == [4, 4, 8, 8]


def test_slots_are_written_in_place_until_the_bucket_is_full(cache: FixedLaneCache) -> None:
    assert cache.capacity == 8
    buffer, mask = cache.layers[0].keys.data_ptr(), cache._mask.data_ptr()
    assert read(cache, 3) == [[[0, 1, 2, 3], [0, 1, 2, 4]]] * 2
    cache.reorder(torch.tensor([[1, 0], [0, 0]]))
    assert (cache.layers[0].keys.data_ptr(), cache._mask.data_ptr()) == (buffer, mask), "a graph would look elsewhere"
    assert keys(cache) == [[0, 1, 2, 3, 4, 0, 0, 0]] * 2, "and what holds nothing is 0"
    assert read(cache, 5) == [[[0, 1, 2, 4, 5], [0, 1, 2, 3, 6]], [[0, 1, 2, 3, 5], [0, 1, 2, 3, 6]]]
    assert (cache.used, cache.peak_slots, cache.capacity) == (7, 7, 8)
    assert read(cache, 7)[0] == [[0, 1, 2, 4, 5, 7], [0, 1, 2, 3, 6, 8]]
    assert (cache.used, cache.capacity) == (9, 12)
    assert keys(cache)[0] == [*range(9), 0, 0, 0]


def test_a_compaction_keeps_the_living_in_place_and_what_follows_comes_after_them(cache: FixedLaneCache) -> None:
    read(cache, 3)
    cache.reorder(torch.tensor([[1, 1], [0, 1]]))  # slot 3 is dead in lane 0, nothing in lane 1
    read(cache, 5)
    cache.reorder(torch.tensor([[0, 0], [0, 0]]))  # slot 6 is dead in both, slot 4 in lane 1
    mask = cache._mask.data_ptr()
    cache.compact()
    assert cache._mask.data_ptr() == mask
    assert cache.used == 5
    assert [lane[:5] for lane in keys(cache)] == [[0, 1, 2, 4, 5], [0, 1, 2, 3, 5]]
    assert visible(cache._mask) == [[[0, 1, 2, 3, 4]] * 2] * 2
    assert read(cache, 7) == [[[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 6]]] * 2
    assert [lane[5:7] for lane in keys(cache)] == [[7, 8]] * 2


def test_a_smaller_bucket_is_taken_where_it_is_not_left_at_once(cache: FixedLaneCache) -> None:
    for start in (3, 5, 7):
        read(cache, start)
        cache.reorder(torch.zeros(2, 2, dtype=torch.long))
    assert cache.capacity == 12
    fit([cache], shrinking=True)
    assert cache.capacity == 12, "nothing was dropped"
    cache.compact()
    assert cache.used == 6, "the prompt and one slot a step"
    fit([cache], shrinking=True)
    assert cache.capacity == 12, "6 + 2 slots fill a bucket of 8"
    cache.reorder(torch.zeros(2, 2, dtype=torch.long))
    cache._mask[..., 3:] = torch.finfo(torch.float32).min  # as if the beams descended from the prompt alone
    cache.compact()
    fit([cache], shrinking=True)
    assert (cache.used, cache.capacity) == (3, 8)
    assert read(cache, 20) == [[[0, 1, 2, 3], [0, 1, 2, 4]]] * 2


def test_all_caches_of_a_batch_share_a_bucket(cache: FixedLaneCache) -> None:
    other = FixedLaneCache(blocks=1)
    append(other, 2, 1, start=0)
    other.open_beams(torch.arange(2), beams=2, dtype=torch.float32)
    assert other.capacity == 4
    fit([cache, other])
    assert cache.capacity == other.capacity == 8
