"""Random numbers that depend on what is drawn and on nothing else: not on the batch, the order, a resume or the device.

A draw belongs to (seed, prompt, sample, step), and both of its stages are counter-based: nothing is drawn in sequence.

    key       SHA-256 of seed, sample and prompt's id -> Philox-4x64 (Salmon et al. 2011), its step-th number: 64 bits,
              on the host, before a batch starts
    E(token)  these bits and the token's id, mixed to 32 bits (the two-round mixer of Wellons 2018, "Prospecting for
              hash functions") -> an exponential variate, on the device

The next token is the one with the largest log w − log E. Exponentials with the rates w race, and the first is a token
with probability w / sum w: exactly softmax(log w) (the Gumbel-max trick).

A single uniform and the inverse of the cumulative distribution would need fewer numbers, but would not keep the promise
above: a vocabulary's cumulative sums move in their last digits with the batch, and where tokens' shares are as small as
that, the uniform falls on another token. Here two tokens must tie for rounding to matter.

Settings of one prompt share its draws, so what differs between two arms is less their luck.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_BITS = 0xFFFFFFFF
_BELOW_ONE = 1 - 2**-24  # the largest float32 below 1: its exponential is finite


def draw_keys(seed: int, prompt: str, sample: int, steps: int) -> list[list[int]]:
    """Two 32-bit numbers a step."""
    name = f"{seed}\0{sample}\0{prompt}".encode("utf-8", "surrogatepass")
    key = int.from_bytes(hashlib.sha256(name).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw(steps)
    pairs: list[list[int]] = np.stack([raw >> np.uint64(32), raw & np.uint64(_BITS)], axis=1).tolist()
    return pairs


def stack_keys(keys: Sequence[list[list[int]]], device: torch.device) -> Int[Tensor, "lane step 2"]:
    """The keys of a batch on its device."""
    return torch.tensor(keys, dtype=torch.long, device=device)


def token_bits(vocab: int, device: torch.device) -> Int[Tensor, " vocab"]:
    """Each token's id as 32 bits without a pattern."""
    return _mix(torch.arange(vocab, device=device), 0)


def exponentials(
    bits: Int[Tensor, "#lane beam token"], keys: Int[Tensor, "lane 2"]
) -> Float[Tensor, "lane beam token"]:
    """E of every token of every lane, by the tokens' bits."""
    # Small exponentials win races: -log(1 - u) is precise for small u, where -log(u) near 1 is not.
    return uniforms(bits, keys).neg_().log1p_().neg_()


def uniforms(bits: Int[Tensor, "#lane beam token"], keys: Int[Tensor, "lane 2"]) -> Float[Tensor, "lane beam token"]:
    """A number in (0, 1) for every token of every lane, by the tokens' bits."""
    mixed = _mix(bits ^ keys[:, 0, None, None], keys[:, 1, None, None])
    return ((mixed.float() + 0.5) * 2**-32).clamp_(max=_BELOW_ONE)


def _mix(bits: Tensor, middle: Tensor | int) -> Tensor:
    """A bijection of 32 bits; both factors are below 2^31, so that no product overflows a signed 64-bit number."""
    bits = ((bits ^ (bits >> 15)) * 0x2C1B3C6D) & _BITS
    bits = ((bits ^ (bits >> 12) ^ middle) * 0x297A2D39) & _BITS
    return bits ^ (bits >> 15)
