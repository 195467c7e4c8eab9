"""The number of a step, counted by the host, or by the device where all steps are one program (`decode.static`)."""

from typing import TypeAlias

from jaxtyping import Int
from torch import Tensor

# Tokens chosen before the step. A tensor of the device is never 0: the first token is chosen when prompts are read.
Step: TypeAlias = int | Int[Tensor, "1"]


def at_step(values: Tensor, step: Step, dim: int = 0) -> Tensor:
    """Look up what belongs to a step, along one dimension, which goes."""
    return values.select(dim, step) if isinstance(step, int) else values.index_select(dim, step).squeeze(dim)


def put_at_step(values: Tensor, step: Step, what: Tensor, dim: int = 0) -> None:
    """Write what belongs to a step, in place."""
    if isinstance(step, int):
        values.select(dim, step).copy_(what)
    else:
        values.index_copy_(dim, step, what.unsqueeze(dim))


def with_step(values: Tensor, where: Tensor, step: Step) -> Tensor:
    """Put the number of a step into a tensor where a mask says; a number of the host is no tensor on the way."""
    return values.masked_fill(where, step) if isinstance(step, int) else step.where(where, values)
