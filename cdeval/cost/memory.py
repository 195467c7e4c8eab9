"""Bytes: weights and live key-value slots by count, the process's peak by measurement."""

import resource
import sys

import torch

from cdeval.cost.flops import head_width, key_heads
from cdeval.models.loading import LanguageModel


def weights_bytes(lm: LanguageModel) -> int:
    """Bytes of all weights; tied ones count once."""
    return sum(weight.numel() * weight.element_size() for weight in lm.model.parameters())


def slot_bytes(lm: LanguageModel) -> int:
    """Bytes of one key-value slot (one token of one beam) over all blocks."""
    config = lm.model.config
    slots: int = 2 * lm.parts.depth * key_heads(config) * head_width(config)
    return slots * lm.dtype.itemsize


def peak_bytes(device: torch.device) -> int:
    """Most memory this process has held so far: allocated on a GPU, resident on the CPU [bytes].

    On the CPU this is the whole process, libraries and metric models included, and never falls.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, kilobytes elsewhere
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
