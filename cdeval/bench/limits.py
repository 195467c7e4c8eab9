"""The roofline of this machine: the least time that an arm's work can take, whoever does it.

    least seconds = the more of   bytes / the bandwidth of reading   and   FLOPs / the rate of matrix products

Both rates are measured when the bench begins. Bytes are those of `cdeval.cost.traffic`, weights once a step for all
texts of a batch; FLOPs those of `cdeval.cost.flops`. They are of the cheapest way that is known here to make the texts:
a peer's separate amateur, or passes over tokens that a cache would have kept, are no part of it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch

from cdeval.bench.plan import GroupResult
from cdeval.config.setting import Setting
from cdeval.cost.bandwidth import measure_bandwidth, measure_products
from cdeval.cost.flops import lane_flops, token_flops
from cdeval.cost.traffic import lane_bytes, token_bytes
from cdeval.models.loading import LanguageModel


@dataclass(frozen=True, slots=True)
class Work:
    """The work of an arm: texts of one length under one setting, in passes of equally many."""

    texts: int
    batches: int
    prompt_tokens: int
    new_tokens: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The rates of this machine."""

    read: float  # bytes a second
    products: dict[str, float]  # FLOPs a second, by number format as torch writes it

    @classmethod
    def of_machine(cls, device: torch.device, dtypes: Iterable[torch.dtype]) -> Self:
        """Measure them."""
        return cls(measure_bandwidth(device).read, {str(dtype): measure_products(device, dtype) for dtype in dtypes})

    def least(self, expert: LanguageModel, setting: Setting, work: Work, amateur: LanguageModel | None = None) -> float:
        """The least seconds that some work can take in the expert's number format.

        `amateur`: with a forward pass of its own.
        """
        moves, counts = token_bytes(expert), token_flops(expert)
        own_moves, own_counts = (token_bytes(amateur), token_flops(amateur)) if amateur is not None else (None, None)
        lane = lane_bytes(moves, setting, work.prompt_tokens, work.new_tokens, own_moves)
        flops = lane_flops(counts, setting, work.prompt_tokens, work.new_tokens, own_counts)
        weights = sum(one.blocks + one.head for one in (moves, own_moves) if one is not None)
        once = (work.texts - work.batches) * work.new_tokens * weights  # that the texts of a batch share
        moved = work.texts * lane.per_token * work.new_tokens - once
        return max(moved / self.read, work.texts * flops.total / self.products[str(expert.dtype)])

    def lines(self, results: Iterable[GroupResult], engine: str) -> list[str]:
        """Say what the limits are, and where the arms of `engine` came nearest to and stayed furthest from them."""
        rates = ", ".join(
            f"{rate / 1e9:.0f} GFLOP/s in {name.rpartition('.')[2]}" for name, rate in self.products.items()
        )
        found = [f"roofline of this machine: {self.read / 1e9:.1f} GB/s read, matrix products of {rates}"]
        mine = [one for result in results for one in result.timings.values() if one.label.startswith(f"{engine} ")]
        known = sorted((one for one in mine if math.isfinite(one.least)), key=lambda one: one.of_limit)
        if known:
            ends = " to ".join(f"{one.of_limit:.0%} ({one.label})" for one in (known[0], known[-1]))
            found.append(f"share of it that the engine reaches: {ends}")
        return found
