"""The cache of `cdeval.decode.cache` in storage of a fixed size, for a step that is compiled or replayed by a GPU.

A *bucket* is a capacity in slots, a multiple of `BUCKET`. Between two steps of one bucket no tensor changes its shape
or place: new slots are written where a number on the device says, attention reads the whole bucket, and the mask keeps
it from slots that hold nothing (they are 0, and never NaN, which a weight of 0 would not hide).

    bucket     0 1 2 3 4 5 6 7        two beams after a prompt of 3 tokens and one step; slots 5 and 6 come next
    slots      p p p 0 1 . . .
    beam 0     x x x x . . . .
    beam 1     x x x . x . . .

The host knows without asking how many slots are in use, and makes room before a step where the bucket is full.
Compaction, also between steps, writes the living slots to the front; where that leaves half a bucket free, a smaller
one is taken. All caches of a batch have one bucket, so that there is one program for each.
"""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.decode.cache import AppendOnlyLayer, LaneCache

BUCKET = 128  # slots; what a step costs beyond those in use is attention, a twentieth of it


def bucket_of(slots: int) -> int:
    """The smallest bucket that holds so many slots."""
    return -(-slots // BUCKET) * BUCKET


class FixedLayer(AppendOnlyLayer):
    """Keys and values of one block; prompts are read as into any other, then the buffers stay where they are."""

    def __init__(self) -> None:
        super().__init__()
        self.slots: Int[Tensor, " beam"] | None = None  # where the next tokens go; None: prompts are being read

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the slots of all beams; returns the whole bucket."""
        if self.slots is None:
            return super().update(key_states, value_states)
        self.keys.index_copy_(2, self.slots, key_states)
        self.values.index_copy_(2, self.slots, value_states)
        return self.keys, self.values

    def move(self, used: int, capacity: int) -> None:
        """Take other buffers, with the slots in use."""
        self.keys, self.values = (_moved(buffer, 2, used, capacity, 0.0) for buffer in (self.keys, self.values))
        self.used = used


class FixedLaneCache(LaneCache):
    """The cache of all blocks in one bucket, and the ancestry mask over the bucket."""

    layer_type = FixedLayer
    layers: list[FixedLayer]

    def __init__(self, blocks: int, rows: int = 1, skips: Collection[int] = ()) -> None:
        super().__init__(blocks, rows, skips)
        self._beams = 0
        self._slots: Int[Tensor, " beam"] = torch.empty(0, dtype=torch.long)  # of the tokens that were read last
        # Which row of the mask each beam descends from, and the order in which none is to move.
        self._parent: Int[Tensor, "lane beam"] = torch.empty(0, 0, dtype=torch.long)
        self._order = self._parent
        self._own: Float[Tensor, "1 1 beam beam"] = torch.empty(0)  # the mask of new slots

    @property
    def device(self) -> torch.device:
        """The device of all tensors."""
        return self._mask.device

    @property
    def capacity(self) -> int:
        """Slots of the bucket."""
        return self._mask.shape[-1]

    @property
    def needed(self) -> int:
        """Slots in use once the next tokens are read."""
        return self.used + self._beams

    def open_beams(self, sources: Int[Tensor, " lane"], beams: int, dtype: torch.dtype) -> None:
        """Give the lanes their prompt's slots after the prefill, and let every beam see them."""
        super().open_beams(sources, beams, dtype)
        self._beams = beams
        order = torch.arange(beams, device=sources.device)
        self._slots, self._order = order + (self.used - beams), order.repeat(len(sources), 1)
        self._parent = self._order.clone()
        lowest = torch.finfo(dtype).min
        own = torch.full((beams, beams), lowest, dtype=dtype, device=sources.device).fill_diagonal_(0)
        self._own = own[None, None]
        self.move(bucket_of(self.needed))
        for layer in self.layers:
            layer.slots = self._slots

    def move(self, capacity: int) -> None:
        """Take another bucket, between two steps."""
        used = self.used
        for layer in self.layers:
            layer.move(used, capacity)
        self._mask = _moved(self._mask, 3, used, capacity, torch.finfo(self._mask.dtype).min)

    def take(self) -> None:
        """Count the slots of the next tokens, which the step itself does not do: its program is always the same."""
        for layer in self.layers:
            layer.used += self._beams
        self.peak_slots = max(self.peak_slots, self.used)

    def extend(self) -> Float[Tensor, "lane 1 row slot"]:
        """The attention mask of the next step, as that of the base class; the host does not count along."""
        self._slots.add_(self._beams)
        own = self._own.expand(self._mask.shape[0], -1, -1, -1)
        mask = self._reordered().index_copy(3, self._slots, own)
        self._mask.copy_(mask)
        self._parent.copy_(self._order)
        return mask if self._rows == 1 else mask.repeat(1, 1, self._rows, 1)

    def reorder(self, parent: Int[Tensor, "lane beam"]) -> None:
        """Beam i of a lane now descends from beam parent[i]; the mask follows when it is read next.

        Not at once: a mask that one program both writes slots into and gathers rows of into itself is wrong where torch
        compiles it (inductor of 2.13 writes rows while it still reads them).
        """
        self._parent.copy_(parent)

    def _reordered(self) -> Float[Tensor, "lane 1 beam slot"]:
        """The mask, its rows in the order of the beams."""
        return self._mask.gather(2, self._parent[:, None, :, None].expand(-1, -1, -1, self._mask.shape[-1]))

    def compact(self) -> None:
        """Drop the slots no living beam descends from; the bucket stays."""
        mask, before = self._mask, self.used
        mask.copy_(self._reordered())
        self._parent.copy_(self._order)
        super().compact()
        used = self.used
        if used == before:
            return
        mask.fill_(torch.finfo(mask.dtype).min).narrow(3, 0, used).copy_(self._mask)
        self._mask = mask
        self._slots.copy_(torch.arange(self._beams, device=mask.device) + (used - self._beams))


def fit(caches: Sequence[FixedLaneCache], *, shrinking: bool = False) -> None:
    """Put all caches into a bucket that holds the next tokens of each.

    `shrinking` takes a smaller one where it has room for half a bucket's slots more, so that it is not left at once.
    """
    needed, now = max(cache.needed for cache in caches), max(cache.capacity for cache in caches)
    capacity = min(now, bucket_of(needed + BUCKET // 2)) if shrinking else max(now, bucket_of(needed))
    for cache in caches:
        if cache.capacity != capacity:
            cache.move(capacity)


def _moved(buffer: Tensor, dim: int, used: int, capacity: int, empty: float) -> Tensor:
    """A larger or smaller buffer with the first slots of another, and `empty` after them."""
    shape = [*buffer.shape]
    shape[dim] = capacity
    found = buffer.new_full(shape, empty)
    found.narrow(dim, 0, used).copy_(buffer.narrow(dim, 0, used))
    return found
