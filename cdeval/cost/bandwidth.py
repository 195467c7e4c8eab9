"""The limits of a machine: bytes a second between memory and processor, and multiplications a second."""

from collections.abc import Callable
from typing import NamedTuple

import psutil
import torch
from torch import nn

from cdeval.decode.clock import now
from cdeval.models.packing import pack_modules, packs

LARGE = 1 << 30  # bytes; far beyond any processor's cache
PASSES = 5
_ROWS, _WIDTH = 512, 2048  # of the product that is timed: as many rows as batches have, and matrices beyond caches


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
    summed, copied = _fastest(source.sum, device), _fastest(lambda: target.copy_(source), device)
    return Bandwidth(real_size / summed, 2 * real_size / copied, real_size)


@torch.inference_mode()
def measure_products(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs a second of a large matrix product, all threads: the better of torch's own layout and the packed one."""
    layer = nn.Linear(_WIDTH, _WIDTH, bias=False, device=device, dtype=dtype)
    rows = torch.ones(_ROWS, _WIDTH, device=device, dtype=dtype)
    seconds = _fastest(lambda: layer(rows), device)
    if packs(device, dtype):
        pack_modules(layer)
        seconds = min(seconds, _fastest(lambda: layer(rows), device))
    return 2 * _ROWS * _WIDTH**2 / seconds


def _fastest(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest pass; the first one, which maps memory, is left out."""
    seconds = []
    for _ in range(PASSES + 1):
        started = now(device)
        work()
        seconds.append(now(device) - started)
    return min(seconds[1:])
