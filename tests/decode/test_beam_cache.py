"""The beam's pure functions and the cache's book-keeping, by hand."""

import math

import torch

from cdeval.decode.beam import CHUNK, Choice, backtrack, best_extensions, largest, survivors
from cdeval.decode.cache import GROWTH, LaneCache


def test_best_extensions_look_over_all_beams() -> None:
    scores = torch.tensor([[[-1.0, -2.0, -9.0], [-0.5, -3.0, -0.6]]])
    choice = best_extensions(scores, torch.tensor([[0.0, -1.0]]), 3)
    assert choice.parent.tolist() == [[0, 1, 1]]
    assert choice.token.tolist() == [[0, 0, 2]]
    assert choice.total.tolist()[0] == [-1.0, -1.5, -1.600000023841858]


def test_a_vocabulary_smaller_than_the_beam_leaves_dead_beams() -> None:
    choice = best_extensions(torch.tensor([[[-1.0, -2.0]]]), torch.zeros(1, 1), 5)
    assert choice.token.tolist() == [[0, 1, 0, 0, 0]]
    assert choice.total[0, 2:].tolist() == [-math.inf] * 3


def test_survivors_are_the_best_unfinished() -> None:
    choice = Choice(
        torch.tensor([[0, 1, 2, 3]]), torch.tensor([[9, 7, 9, 5]]), torch.tensor([[-1.0, -2.0, -3.0, -4.0]])
    )
    kept, order = survivors(choice, choice.token == 9, 2)
    assert kept.token.tolist() == [[7, 5]]
    assert kept.parent.tolist() == [[1, 3]]
    assert order.tolist() == [[1, 3]]


def test_backtrack_follows_the_picture() -> None:
    """The example of the module's docstring: the=1 cat=2 sat=3 a=4 dog=5 ran=6."""
    tokens = torch.tensor([[[1, 4]], [[2, 5]], [[3, 6]]])
    parents = torch.tensor([[[0, 0]], [[0, 0]], [[1, 0]]])
    assert backtrack(parents, tokens, 2, lane=0, beam=0) == (1, 5, 3)
    assert backtrack(parents, tokens, 2, lane=0, beam=1) == (1, 2, 6)
    assert backtrack(parents, tokens, -1, lane=0, beam=0) == ()


def filled_cache(lanes: int, prompt: int) -> LaneCache:
    cache = LaneCache(blocks=1)
    append(cache, lanes, prompt, start=0)
    cache.open_beams(torch.arange(lanes), beams=2, dtype=torch.float32)
    return cache


def append(cache: LaneCache, lanes: int, slots: int, start: int) -> None:
    """Each slot's key is its number, so that what is kept can be read off."""
    keys = torch.arange(start, start + slots, dtype=torch.float32)[None, None, :, None].expand(lanes, 1, slots, 1)
    cache.layers[0].update(keys, -keys)


def visible(mask: torch.Tensor) -> list[list[list[int]]]:
    return [[(row == 0).nonzero()[:, 0].tolist() for row in lane[0]] for lane in mask]


def test_the_ancestry_mask_follows_the_picture() -> None:
    """The example of the module's docstring: three prompt slots, two beams, beam 0 takes over beam 1's past."""
    cache = filled_cache(lanes=1, prompt=3)
    assert visible(cache.extend()) == [[[0, 1, 2, 3], [0, 1, 2, 4]]]
    append(cache, 1, 2, start=3)
    cache.reorder(torch.tensor([[1, 0]]))
    assert visible(cache.extend()) == [[[0, 1, 2, 4, 5], [0, 1, 2, 3, 6]]]


def test_compaction_drops_exactly_the_dead_slots() -> None:
    """In lane 0 both beams go on from beam 1, so slot 3 is dead; in lane 1 nothing is dead, so lane 0 keeps its dead
    slot, masked, at the end: lanes stay equally long."""
    cache = filled_cache(lanes=2, prompt=3)
    cache.extend()
    append(cache, 2, 2, start=3)
    cache.reorder(torch.tensor([[1, 1], [0, 1]]))
    cache.compact()
    assert cache.used == 5
    cache.reorder(torch.tensor([[0, 1], [1, 1]]))
    cache.compact()
    keys = cache.layers[0].keys[:, 0, : cache.used, 0].tolist()
    assert keys == [[0, 1, 2, 4], [0, 1, 2, 4]]
    assert cache.layers[0].values[:, 0, : cache.used, 0].tolist() == [[0, -1, -2, -4]] * 2
    assert visible(cache.extend()) == [[[0, 1, 2, 3, 4], [0, 1, 2, 3, 5]]] * 2


def test_the_cache_grows_past_its_first_buffer_without_losing_slots() -> None:
    cache = filled_cache(lanes=1, prompt=3)
    for slot in range(3, 3 + 2 * GROWTH):
        append(cache, 1, 1, start=slot)
    assert cache.layers[0].keys[0, 0, : cache.used, 0].tolist() == list(range(3 + 2 * GROWTH))


def test_settings_of_one_prompt_share_its_prefill() -> None:
    cache = LaneCache(blocks=1)
    append(cache, 1, 3, start=0)
    cache.open_beams(torch.tensor([0, 0, 0]), beams=2, dtype=torch.float32)
    assert cache.layers[0].keys.shape[0] == 3
    assert cache.layers[0].keys[2, 0, :3, 0].tolist() == [0, 1, 2]


def test_the_largest_are_topks() -> None:
    """In one chunk, in several, in the rest that fills no chunk, with impossible tokens among them."""
    torch.manual_seed(0)
    for width in (3, 5 * 4 * CHUNK, 5 * 4 * CHUNK + 77, 50257):
        values = torch.randn(2, 3, width)
        values[0, 0, -3:] = torch.tensor([9.0, 8.0, 7.0])
        values[0, 1, :3] = 5.0 + torch.arange(3)
        values[1, 0, 2:] = -math.inf
        for count in {1, 3, min(5, width)}:
            found, indices = largest(values, count)
            assert torch.equal(found, values.topk(count).values)
            assert torch.equal(values.gather(-1, indices), found)
