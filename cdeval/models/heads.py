"""Attention heads of a model: silenced, and found by what they attend to in a passage that is repeated."""

from collections.abc import Callable, Collection, Sequence
from copy import copy
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cdeval.models.anatomy import anatomy_of
from cdeval.models.attention import attend_as
from cdeval.models.loading import LanguageModel
from cdeval.models.truncate import with_blocks

_AT_ONCE = 4  # passages whose attention is held in memory together


class Head(NamedTuple):
    """A head of attention by its place; both numbers count from 1."""

    block: int
    head: int

    def __str__(self) -> str:
        """Write it as it is typed: 12.3."""
        return f"{self.block}.{self.head}"


def without_heads(lm: LanguageModel, heads: Collection[Head]) -> LanguageModel:
    """The model whose heads among these put out nothing; all weights are shared, and the model stays as it is.

    A head's output is the part of the attention's output projection's input that is its own.
    """
    count = int(lm.model.config.num_attention_heads)
    path = anatomy_of(lm.model.config, lm.name).attention_out.split(".")
    blocks = list(lm.parts.blocks)
    for number in sorted({head.block for head in heads}):
        silent = torch.zeros(count, dtype=torch.bool)
        silent[[head.head - 1 for head in heads if head.block == number]] = True
        blocks[number - 1] = _with_silent(blocks[number - 1], path, silent.to(lm.device))
    return with_blocks(lm, lm.name, nn.ModuleList(blocks))


def _with_silent(module: nn.Module, path: Sequence[str], silent: Bool[Tensor, " head"]) -> nn.Module:
    """A copy of a module that shares all of its parts but the one at the path."""
    found = copy(module)
    found.__dict__["_modules"] = dict(module._modules)
    if path:
        setattr(found, path[0], _with_silent(getattr(module, path[0]), path[1:], silent))
    else:
        # An attribute of the instance comes before the method of its class.
        setattr(found, "forward", _projecting_without(silent, module))  # noqa: B010
    return found


def _projecting_without(silent: Bool[Tensor, " head"], module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Project the heads' outputs, side by side, into which some heads put nothing.

    The module is called as it is then: packing its weights replaces its `forward`, also after this.
    """

    def forward(outputs: Tensor) -> Tensor:
        of_heads = outputs.reshape(*outputs.shape[:-1], len(silent), -1)
        projected: Tensor = module(of_heads.masked_fill(silent[:, None], 0.0).flatten(-2))
        return projected

    return forward


@torch.inference_mode()
def retrieval_scores(
    lm: LanguageModel, passages: Int[Tensor, "passage token"], leading: Sequence[int]
) -> Float[Tensor, "block head"]:
    """Find which heads retrieve, by reading passages twice: `leading`, the passage, and the passage again.

    At each token of the second reading but the last, a head retrieves if the place that it attends to most is that of
    the *next* token in the first reading: the one that is to be copied now. After the retrieval score of Wu et al.
    (2024), whose passages are needles in haystacks.

    Args:
        lm: the model.
        passages: of at least two tokens.
        leading: tokens that begin every text.

    Returns: the share of these tokens at which a head retrieves, in [0, 1].
    """
    length, start = passages.shape[1], len(leading)
    ahead = torch.tensor(list(leading), dtype=torch.long, device=lm.device)
    wanted = torch.arange(start + 1, start + length, device=lm.device)
    reading = slice(start + length, start + 2 * length - 1)
    hits = torch.zeros(lm.parts.depth, int(lm.model.config.num_attention_heads), device=lm.device)
    for some in torch.split(passages.to(lm.device), _AT_ONCE):
        ids = torch.cat([ahead.expand(len(some), -1), some, some], dim=1)
        with attend_as("eager", [lm.model]):
            found = lm.parts.base(input_ids=ids, output_attentions=True, use_cache=False, return_dict=True).attentions
        for block, attention in enumerate(found):
            hits[block] += (attention[:, :, reading].argmax(dim=-1) == wanted).sum(dim=(0, 2))
    return hits / (len(passages) * (length - 1))


def likeliest_heads(scores: Float[Tensor, "block head"], count: int) -> tuple[Head, ...]:
    """The heads with the best scores, the best one first; of equal ones the earlier one."""
    order = sorted(
        (-score, block, head) for block, row in enumerate(scores.tolist(), 1) for head, score in enumerate(row, 1)
    )
    return tuple(Head(block, head) for _, block, head in order[:count])
