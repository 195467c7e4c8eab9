"""Weights laid out once the way the processor multiplies them.

Decoding multiplies a few rows by every weight, so its speed is that of reading the weights. torch hands oneDNN a plain
bfloat16 matrix at every step, which reads it at half the speed of oneDNN's own layout (measured on AMX: 1.4 to 2.2
times slower, 5 to 160 rows), and float32 to MKL, which is slow for few rows on some processors (measured on an AMD
EPYC, 5 rows: blocks 1.0 to 2.6 times slower than oneDNN's layout, SmolLM2's head 4.9 times). The products are the same
but for the order of sums.

Matrices of a block that read the same rows (queries, keys and values; gate and up) become one: starting a product costs
as much as multiplying a few rows by a small matrix.

The operators are torch's own, used by its compiler, and not promised to last: where they are missing nothing is packed.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

# Modules of one parent that are called with the same rows, in this order.
TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))

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
    for parent in root.modules():
        for names in TOGETHER:
            siblings = [one for one in (getattr(parent, name, None) for name in names) if isinstance(one, nn.Linear)]
            alike = len({(one.in_features, getattr(one, "bias", None) is None) for one in siblings}) == 1
            if len(siblings) == len(names) and alike:
                _pack_together(siblings)
    for module in root.modules():
        if isinstance(module, nn.Linear | Conv1D) and "forward" not in vars(module):
            # Conv1D, GPT-2's linear layer, keeps its weight transposed.
            plain = module.weight if isinstance(module, nn.Linear) else module.weight.t()
            _replace(module, _product(plain.detach().contiguous(), module.bias), kept)


def _pack_together(siblings: Sequence[nn.Linear]) -> None:
    weight = torch.cat([one.weight.detach() for one in siblings])
    found: list[Tensor | None] = [one.bias for one in siblings]
    biases = [bias.detach() for bias in found if bias is not None]
    bias = torch.cat(biases) if biases else None
    shared = _SharedProduct(_product(weight, bias), [one.out_features for one in siblings])
    for place, one in enumerate(siblings):
        _replace(one, partial(shared.part, place))


def _replace(module: nn.Linear | Conv1D, forward: Callable[[Tensor], Tensor], kept: Tensor | None = None) -> None:
    # An attribute of the instance comes before the method of its class.
    setattr(module, "forward", forward)  # noqa: B010
    if module.weight is not kept:
        module.weight = nn.Parameter(module.weight.to("meta"), requires_grad=False)


class _SharedProduct:
    """The product of some rows and several matrices, computed when the first of them is asked for its part.

    The others are asked with the very same tensor next, and each once; whoever comes with another one, or twice, has
    the product computed anew.
    """

    def __init__(self, product: Callable[[Tensor], Tensor], widths: Sequence[int]) -> None:
        self._product, self._widths = product, list(widths)
        self._rows: Tensor | None = None  # what the parts that wait are made of
        self._parts: dict[int, Tensor] = {}

    def part(self, place: int, rows: Tensor) -> Tensor:
        """The product with the matrix at that place."""
        if rows is not self._rows or place not in self._parts:
            self._rows, self._parts = rows, dict(enumerate(torch.split(self._product(rows), self._widths, dim=-1)))
        part = self._parts.pop(place)
        if not self._parts:
            self._rows = None
        return part


def _product(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)

    def product(rows: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")
        return found

    return product
