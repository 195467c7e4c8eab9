"""An append-only key-value cache for lanes of beams, and the mask that says which slots belong to whom.

A lane's beams share one run of slots. Each step appends one slot a beam; no key or value moves when beams are
re-ordered. What moves is the ancestry mask, [lane, 1, beam, slot]: 0 where a slot holds an ancestor of the beam (or
the beam itself), the lowest number elsewhere, added to the attention scores.

    prompt . . .   step 1   step 2          beam 0 descends from beam 1 of step 1:
    slots  0 1 2   3  4     5  6            beam 0 sees 0 1 2 . 4 5 .
    beam           0  1     0  1            beam 1 sees 0 1 2 3 . . 6

Every few steps the slots that no living beam descends from are dropped, so a lane stays near the length of one text.
The mask is a float one: Hugging Face's eager attention adds whatever it gets, so a boolean one is silently wrong.
"""

from collections.abc import Callable, Collection

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

GROWTH = 128  # slots added when the cache is full: few reallocations, little unused memory


class AppendOnlyLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped here
    """Keys and values of one block, [lane, kv_head, slot, head_width], in buffers that grow and shrink by slots."""

    is_sliding = False
    is_initialized: bool
    keys: Tensor  # set by the first update
    values: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.used = 0
        self.stored: Callable[[], None] | None = None  # told after every update, whose result it may make needless

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Hugging Face calls this before the first update; `update` allocates."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append slots; returns all of them."""
        end = self.used + key_states.shape[2]
        if not self.is_initialized:
            self.keys, self.values = _room(key_states, end + GROWTH), _room(value_states, end + GROWTH)
            self.is_initialized = True
        elif end > self.keys.shape[2]:
            self._resize(end + GROWTH)
        self.keys[:, :, self.used : end] = key_states
        self.values[:, :, self.used : end] = value_states
        self.used = end
        if self.stored is not None:
            self.stored()
        return self.keys[:, :, :end], self.values[:, :, :end]

    def _resize(self, capacity: int) -> None:
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = _room(old, capacity)
            new[:, :, : self.used] = old[:, :, : self.used]
            setattr(self, name, new)

    def keep(self, slots: Int[Tensor, "lane kept"]) -> None:
        """Drop every slot of a lane but these, in this order."""
        kept = slots.shape[1]
        lanes, heads, capacity, _ = self.keys.shape
        # Whole rows of the buffer as it lies: a gather would look up every number by itself.
        starts = torch.arange(lanes * heads, device=slots.device).view(lanes, heads, 1) * capacity
        rows = (starts + slots[:, None, :]).flatten()
        for buffer in (self.keys, self.values):
            moved = buffer.view(-1, buffer.shape[3]).index_select(0, rows)
            buffer[:, :, :kept] = moved.view(lanes, heads, kept, -1)
        self.used = kept

    def spread(self, sources: Int[Tensor, " lane"]) -> None:
        """Make lane i a copy of lane sources[i]: one prompt's prefill serves all settings of that prompt."""
        self.keys, self.values = self.keys.index_select(0, sources), self.values.index_select(0, sources)

    def get_seq_length(self) -> int:
        """Slots in use, for Hugging Face."""
        return self.used

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Key length and offset of a mask, for Hugging Face."""
        return self.used + query_length, 0

    def get_max_length(self) -> int:
        """No limit, for Hugging Face."""
        return -1


def _room(like: Tensor, capacity: int) -> Tensor:
    return like.new_empty(like.shape[0], like.shape[1], capacity, like.shape[3])


class LaneCache:
    """The cache of all blocks and the ancestry mask of all lanes, kept in step."""

    layer_type = AppendOnlyLayer

    def __init__(self, blocks: int, rows: int = 1, skips: Collection[int] = ()) -> None:
        """Make the cache of a model's blocks.

        Args:
            blocks: that are there.
            rows: of the attention mask for each beam, see `models.attention.mask_rows`.
            skips: places between them that hold nothing, see `models.anatomy.Parts.skips`.
        """
        self.layers = [self.layer_type() for _ in range(blocks)]
        self._rows = rows
        # A block looks its cache up by its place. Nobody does at a place that is skipped, but for Hugging Face, which
        # asks the first place how long the text is.
        living = iter(self.layers)
        places = range(blocks + len(skips))
        self.hf = Cache(layers=[self.layers[0] if place in skips else next(living) for place in places])
        self._mask: Float[Tensor, "lane 1 beam slot"] = torch.empty(0)
        self.peak_slots = 0  # most slots a lane held at once

    @property
    def used(self) -> int:
        """Slots a lane holds, the same for all lanes."""
        return self.layers[0].used

    def open_beams(self, sources: Int[Tensor, " lane"], beams: int, dtype: torch.dtype) -> None:
        """Give the lanes their prompt's slots after the prefill; every beam sees all of them."""
        for layer in self.layers:
            layer.spread(sources)
        self._mask = torch.zeros(len(sources), 1, beams, self.used, dtype=dtype, device=sources.device)

    def extend(self) -> Float[Tensor, "lane 1 row slot"]:
        """The attention mask of the next step: each beam sees its ancestors and the new slot that is its own.

        All beams, then all beams again, as often as attention wants.
        """
        lanes, _, beams, _ = self._mask.shape
        lowest = torch.finfo(self._mask.dtype).min
        own = torch.full((beams, beams), lowest, dtype=self._mask.dtype, device=self._mask.device).fill_diagonal_(0)
        self._mask = torch.cat([self._mask, own.expand(lanes, 1, beams, beams)], dim=-1)
        self.peak_slots = max(self.peak_slots, self._mask.shape[-1])
        return self._mask if self._rows == 1 else self._mask.repeat(1, 1, self._rows, 1)

    def reorder(self, parent: Int[Tensor, "lane beam"]) -> None:
        """Beam i of a lane now descends from beam parent[i]: only its row of the mask moves."""
        self._mask = self._mask.gather(2, parent[:, None, :, None].expand(-1, -1, -1, self._mask.shape[-1]))

    def compact(self) -> None:
        """Drop the slots no living beam descends from; lanes with fewer living slots keep some dead, masked ones.

        Reads one number back from the device: the engine's only synchronisation between prefill and end.
        """
        living = (self._mask == 0).any(dim=2)[:, 0]
        kept = int(living.sum(dim=-1).max())
        if kept == self.used:
            return
        # A stable sort keeps the slots in order of position; attention does not care, a reader of a dump does.
        slots = (~living).to(torch.uint8).argsort(dim=-1, stable=True)[:, :kept]
        for layer in self.layers:
            layer.keep(slots)
        self._mask = self._mask.gather(3, slots[:, None, None, :].expand(-1, -1, self._mask.shape[2], -1))
