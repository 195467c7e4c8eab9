"""The device that a model is loaded to, and the number format of its weights there."""

import torch

from cdeval.config.enums import Dtype
from cdeval.errors import ModelError


def choose_device(wanted: str) -> torch.device:
    """`auto` is the first accelerator there is, else the CPU.

    Raises: ModelError: the device is unknown to torch or absent.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(
            f"expert.device={wanted} cannot be used on this machine: expected auto, cpu, cuda, cuda:<n> or mps "
            f"({str(error).splitlines()[0]})."
        ) from error
    return device


def choose_dtype(wanted: Dtype, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the hardware multiplies it, else float32 (emulated bfloat16 is slower and no better)."""
    if wanted is not Dtype.auto:
        named: torch.dtype = getattr(torch, wanted.value)
        return named
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return torch.bfloat16 if device.type == "cpu" and _multiplies_bfloat16() else torch.float32


def _multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32.

    AMX does, and so does AMD's AVX-512. Intel's AVX-512 alone is slower in bfloat16 from a handful of rows on.
    """
    # It is younger than the oldest torch that cdeval takes, where `auto` is float32.
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    intel = "intel" in str(found.get("cpu_name")).lower()
    return bool(found.get("amx_bf16") or (found.get("avx512_bf16") and not intel))
