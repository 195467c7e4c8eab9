"""Bytes: weights and key-value slots by count, what a pass takes on top by measurement."""

import ctypes
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from cdeval.cost.flops import head_width, key_heads
from cdeval.models.loading import LanguageModel

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def weights_of(*models: LanguageModel) -> list[Tensor]:
    """All weights of some models; those that are tied or shared count once."""
    modules = [module for lm in models for module in (lm.model, lm.parts.base)]
    return list({id(weight): weight for module in modules for weight in module.parameters()}.values())


def weights_bytes(*models: LanguageModel) -> int:
    """Bytes of all weights of some models, as `weights_of` counts them."""
    return sum(weight.numel() * weight.element_size() for weight in weights_of(*models))


def slot_bytes(lm: LanguageModel) -> int:
    """Bytes of one key-value slot (one token of one beam) over all blocks."""
    config = lm.model.config
    slots: int = 2 * lm.parts.depth * key_heads(config) * head_width(config)
    return slots * lm.dtype.itemsize


class WorkingMemory:
    """The memory that work takes on top of what is held: `with WorkingMemory(device) as working:` … `working.bytes`.

    The most that was allocated at once on a GPU, resident on a CPU under Linux; NaN where the system has no such count.

    On the CPU this is exact to the allocator's leftovers, about a megabyte in a fresh process (as arms are timed
    in): what earlier work freed is given back to the system first, and the system's own high-water mark is put back.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.bytes = float("nan")

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before: int | None = torch.cuda.memory_allocated(self._device)
        else:
            self._before = _reset_high_water() if self._device.type == "cpu" else None
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            return
        on_gpu = self._device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self._device) if on_gpu else _resident("VmHWM")
        self.bytes = float(peak - self._before)


def _reset_high_water() -> int | None:
    """Bytes resident now, which are the high-water mark from here on; None where the system offers none."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        _CLEAR.write_text("5")
        return _resident("VmRSS")
    except (OSError, AttributeError, KeyError):
        return None


def _resident(name: str) -> int:
    """A line of the process's status [bytes]. Raises: KeyError: there is no such line."""
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return 1024 * int(lines[name].removesuffix("kB"))
