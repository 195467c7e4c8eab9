"""The limits of a machine: bytes a second between memory and processor, and multiplications a second."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from cdeval.cost.capacity import free_bytes
from cdeval.decode.clock import now
from cdeval.models.packing import pack_modules, packs


class _Sizes(NamedTuple):
    """The sizes of what is timed on a kind of device."""

    tensor_bytes: int  # far beyond any processor's cache
    rows: int  # of the product: as many as batches have
    width: int  # of its matrix, which lies beyond caches
    passes: int


_CPU = _Sizes(1 << 30, 512, 2048, 5)
# Hundreds of times faster: each pass must take milliseconds, beside which starting one and waiting for it are nothing,
# and there must be enough of them for its clock to rise.
_ELSEWHERE = _Sizes(1 << 32, 8192, 8192, 30)


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
    """Time a sum and a copy of a float32 tensor of 1 GiB, 4 on a GPU (an eighth of its free memory at most)."""
    size = tensor_bytes or min(_sizes(device).tensor_bytes, free_bytes(device) // 8)
    source = torch.ones(size // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    real_size = source.numel() * source.element_size()
    summed, copied = _fastest(source.sum, device), _fastest(lambda: target.copy_(source), device)
    return Bandwidth(real_size / summed, 2 * real_size / copied, real_size)


@torch.inference_mode()
def measure_products(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs a second of a large matrix product, all threads: the better of torch's own layout and the packed one."""
    _, count, width, _ = _sizes(device)
    layer = nn.Linear(width, width, bias=False, device=device, dtype=dtype)
    # Random, as a processor that multiplies ones takes less power, and may run faster than it does in use.
    rows = torch.randn(count, width, device=device, dtype=dtype)
    seconds = _fastest(lambda: layer(rows), device)
    if packs(device, dtype):
        pack_modules(layer)
        seconds = min(seconds, _fastest(lambda: layer(rows), device))
    return 2 * count * width**2 / seconds


def _fastest(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest pass; the first one, which maps memory, is left out."""
    seconds = []
    for _ in range(_sizes(device).passes + 1):
        started = now(device)
        work()
        seconds.append(now(device) - started)
    return min(seconds[1:])


def _sizes(device: torch.device) -> _Sizes:
    return _CPU if device.type == "cpu" else _ELSEWHERE
