"""A model with damaged weights, beside the whole one."""

from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from cdeval.models.loading import LanguageModel
from cdeval.models.packing import pack_modules
from cdeval.models.truncate import with_blocks


def with_noise(
    expert: LanguageModel, bits: int | None, dropout: float, seed: int, *, packed: bool = False
) -> LanguageModel:
    """Copy an expert's blocks and damage their matrices; embeddings, norms, biases and the head stay, and are shared.

    Args:
        expert: whose weights are read, and left as they are.
        bits: that each weight is rounded to, None: none of them; see `rounded`.
        dropout: share of the weights that are 0, drawn once; the others are divided by 1 - dropout.
        seed: of these draws, which are the same on every device.
        packed: lay the copies out for the processor, as `OpenedModel.load` does.

    Raises: ValueError: the expert's plain weights are gone, because they were packed.
    """
    if expert.parts.head_weight.device.type != "meta" and any(
        weight.is_meta for weight in expert.parts.blocks.parameters()
    ):
        raise ValueError(f"the weights of {expert.name} are packed, and cannot be read")
    # Modules keep reading the one configuration, in which `models.attention.lanes_attend` sets how they attend.
    blocks = deepcopy(expert.parts.blocks, {id(expert.model.config): expert.model.config})
    draws = torch.Generator().manual_seed(seed)
    for module in blocks.modules():
        if not isinstance(module, nn.Linear | Conv1D):
            continue
        weight = module.weight.data
        if bits is not None:
            # Conv1D, GPT-2's linear layer, keeps its weight transposed.
            weight = rounded(weight, bits) if isinstance(module, nn.Linear) else rounded(weight.T, bits).T
        if dropout:
            kept = torch.rand(weight.shape, generator=draws) >= dropout
            weight = weight * kept.to(weight.device) / (1 - dropout)
        module.weight.data = weight.to(module.weight.dtype).contiguous()
    if packed:
        pack_modules(blocks)
    return with_blocks(expert, f"{expert.name} with noise", blocks)


def rounded(weight: Float[Tensor, "out in"], bits: int) -> Float[Tensor, "out in"]:
    """Round to the 2^bits - 1 values that lie evenly between minus and plus the largest of a row, 0 among them."""
    steps = 2 ** (bits - 1) - 1
    scale = weight.float().abs().amax(dim=1, keepdim=True) / steps
    scale = scale.clamp(min=torch.finfo(torch.float32).tiny)  # of a row that is 0
    even: Tensor = (weight.float() / scale).round() * scale
    return even
