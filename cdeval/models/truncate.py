"""A model without some of its blocks as a model of its own, sharing its weights."""

from collections.abc import Collection
from copy import copy
from dataclasses import replace

from torch import Tensor, nn

from cdeval.models.anatomy import anatomy_of
from cdeval.models.loading import LanguageModel


class _Skipped(nn.Module):
    """Stands in a block's place, so that all others keep theirs: some read their kind of attention off their place."""

    def forward(self, hidden_states: Tensor, *_arguments: object, **_options: object) -> Tensor:
        """Hand on what came in."""
        return hidden_states


def truncate(expert: LanguageModel, blocks: int) -> LanguageModel:
    """The expert's first `blocks` blocks, final norm and head.

    Its forward pass costs those blocks again and gives exactly what an early exit after them reads, so it prices early
    exit at equal texts. Modules are shared, whatever layout their weights have; only the list of blocks is its own.
    """
    first = nn.ModuleList(list(expert.parts.blocks)[:blocks])
    return with_blocks(expert, f"the first {blocks} blocks of {expert.name}", first)


def without_blocks(expert: LanguageModel, left_out: Collection[int]) -> LanguageModel:
    """The expert without some blocks, numbered from 1; modules are shared as by `truncate`.

    Raises: ValueError: no block would be left.
    """
    blocks = list(enumerate(expert.parts.blocks, 1))
    kept = nn.ModuleList(block for number, block in blocks if number not in left_out)
    if not len(kept):
        raise ValueError(f"all blocks of {expert.name} are left out")
    places = nn.ModuleList(_Skipped() if number in left_out else block for number, block in blocks)
    pruned = with_blocks(expert, f"{expert.name} without {len(left_out)} blocks", places)
    skips = tuple(number - 1 for number, _ in blocks if number in left_out)
    return replace(pruned, parts=replace(pruned.parts, blocks=kept, skips=skips))


def with_blocks(expert: LanguageModel, name: str, blocks: nn.ModuleList) -> LanguageModel:
    """The expert with another list of blocks."""
    base = copy(expert.parts.base)
    base.__dict__["_modules"] = dict(expert.parts.base._modules)
    setattr(base, anatomy_of(expert.model.config, expert.name).blocks, blocks)
    return replace(expert, name=name, parts=replace(expert.parts, base=base, blocks=blocks))
