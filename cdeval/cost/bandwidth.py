"""The limit: a step of a single text must read every weight once, so it cannot be faster than bytes / bandwidth."""

from collections.abc import Callable
from typing import NamedTuple

import psutil
import torch

from cdeval.cost.flops import token_flops
from cdeval.decode.clock import now
from cdeval.models.loading import LanguageModel

LARGE = 1 << 30  # bytes; far beyond any processor's cache
PASSES = 5


class Bandwidth(NamedTuple):
    """Bytes a second between memory and processor, the fastest of a few passes over a large tensor, all threads."""

    summed: float  # reading alone: the tensor's sum
    copied: float  # reading and writing: a copy, both directions counted
    tensor_bytes: int

    @property
    def read(self) -> float:
        """The machine's read bandwidth as far as it was reached: the better of the two."""
        return max(self.summed, self.copied)


def measure_bandwidth(device: torch.device, tensor_bytes: int | None = None) -> Bandwidth:
    """Time a sum and a copy of a float32 tensor of up to 1 GiB (an eighth of the free memory at most)."""
    size = tensor_bytes or min(LARGE, psutil.virtual_memory().available // 8)
    source = torch.ones(size // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    real_size = source.numel() * source.element_size()

    def fastest(work: Callable[[], object]) -> float:
        seconds = []
        for _ in range(PASSES + 1):  # the first one maps the memory
            started = now(device)
            work()
            seconds.append(now(device) - started)
        return min(seconds[1:])

    return Bandwidth(real_size / fastest(source.sum), 2 * real_size / fastest(lambda: target.copy_(source)), real_size)


def step_bytes(lm: LanguageModel) -> int:
    """Bytes of the weights that one decoding step must read: the matrices of all blocks and of the head.

    Embedding tables that are only looked up are not among them; a tied one is, as the head.
    """
    costs = token_flops(lm)
    return (costs.blocks + costs.head) // 2 * lm.dtype.itemsize
