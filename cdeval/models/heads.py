"""Attention heads of a model: silenced for a while, and found by what they attend to in a passage that is repeated."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cdeval.models.anatomy import anatomy_of
from cdeval.models.attention import attend_as
from cdeval.models.loading import LanguageModel

_AT_ONCE = 4  # passages whose attention is held in memory together


class Head(NamedTuple):
    """A head of attention by its place; both numbers count from 1."""

    block: int
    head: int

    def __str__(self) -> str:
        """Write it as it is typed: 12.3."""
        return f"{self.block}.{self.head}"


@contextmanager
def silenced(lm: LanguageModel, heads: Collection[Head]) -> Iterator[None]:
    """Let heads put out nothing at every forward pass of the blocks inside the `with` block.

    A head's output is the part of the attention's output projection's input that is its own. The hooks are gone
    afterwards, also after an exception.
    """
    count = int(lm.model.config.num_attention_heads)
    output_of = attrgetter(anatomy_of(lm.model.config, lm.name).attention_out)
    handles = []
    try:
        for block in sorted({head.block for head in heads}):
            mine = [head.head - 1 for head in sorted(heads) if head.block == block]
            module: nn.Module = output_of(lm.parts.blocks[block - 1])
            handles.append(module.register_forward_pre_hook(_without(mine, count)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _without(heads: Sequence[int], count: int) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        outputs = given[0].reshape(*given[0].shape[:-1], count, -1).clone()
        outputs[..., heads, :] = 0
        return (outputs.flatten(-2), *given[1:])

    return hook


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
