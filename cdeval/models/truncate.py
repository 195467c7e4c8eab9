"""The first blocks of a model as a model of their own, sharing its weights."""

from copy import copy
from dataclasses import replace

from torch import nn

from cdeval.models.anatomy import anatomy_of
from cdeval.models.loading import LanguageModel


def truncate(expert: LanguageModel, blocks: int) -> LanguageModel:
    """The expert's first `blocks` blocks, final norm and head.

    Its forward pass costs those blocks again and gives exactly what an early exit after them reads, so it prices early
    exit at equal texts. Modules are shared, whatever layout their weights have; only the list of blocks is its own.
    """
    base = copy(expert.parts.base)
    base.__dict__["_modules"] = dict(expert.parts.base._modules)
    first = nn.ModuleList(list(expert.parts.blocks)[:blocks])
    setattr(base, anatomy_of(expert.model.config, expert.name).blocks, first)
    name = f"the first {blocks} blocks of {expert.name}"
    return replace(expert, name=name, parts=replace(expert.parts, base=base, blocks=first))
