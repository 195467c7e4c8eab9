"""Weights laid out once the way the processor multiplies them.

Decoding multiplies a few rows by every weight, so its speed is that of reading the weights. torch hands oneDNN a plain
bfloat16 matrix at every step, which reads it at half the speed of oneDNN's own layout (measured on AMX: 1.4 to 2.2
times slower, 5 to 160 rows), and float32 to MKL, which is slow for few rows on some processors (measured on an AMD
EPYC, 5 rows: blocks 1.0 to 2.6 times slower than oneDNN's layout, SmolLM2's head 4.9 times). The products are the same
but for the order of sums.

The operators are torch's own, used by its compiler, and not promised to last: where they are missing nothing is packed.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

# For which number of rows the layout is chosen; 5, 32 and 160 did alike up to 160 rows, larger ones worse at 640.
ROWS = 5


def can_pack(model: PreTrainedModel) -> bool:
    """Whether packing is known to help: a number format that this CPU multiplies, and torch's oneDNN operators."""
    return packs(model.device, model.dtype)


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether packing is known to help there, as `can_pack`."""
    names = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    if device.type != "cpu" or not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def pack(model: PreTrainedModel) -> PreTrainedModel:
    """Give every matrix of the model the packed layout, in place, for inference only; returns the model.

    The plain weights are dropped (their shapes stay, on the meta device, for whoever counts them), but for the head's:
    a tied input embedding and the candidate-only head look its rows up.
    """
    pack_modules(model, model.get_output_embeddings().weight)
    return model


def pack_modules(root: nn.Module, kept: Tensor | None = None) -> None:
    """Pack every matrix of some modules, as `pack` does; the plain weight `kept` stays beside its packed one."""
    for module in root.modules():
        if isinstance(module, nn.Linear | Conv1D):
            # Conv1D, GPT-2's linear layer, keeps its weight transposed.
            plain = module.weight if isinstance(module, nn.Linear) else module.weight.t()
            # An attribute of the instance comes before the method of its class.
            setattr(module, "forward", _forward(plain.detach().contiguous(), module.bias))  # noqa: B010
            if module.weight is not kept:
                module.weight = nn.Parameter(module.weight.to("meta"), requires_grad=False)


def _forward(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)

    def forward(rows: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
        return product

    return forward
