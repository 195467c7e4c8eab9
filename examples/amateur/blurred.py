"""Kinds of amateurs of one's own: the expert with some of its logits blurred, and the expert a step behind."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cdeval import amateur, number
from cdeval.decode.lanes import Lane
from cdeval.models.loading import LanguageModel


@amateur("blurred", flops=0, traffic=0, share=number(0.1, least=0, most=1))
def blurred(logits: Tensor, uniform: Tensor, share: float) -> Tensor:
    """Put the mean of all logits for a random share of them, anew at every step."""
    return torch.where(uniform < share, logits.mean(-1, keepdim=True), logits)


@amateur("behind", flops=0, traffic=0, weight=number(0.5, least=0, most=1))
class Behind:
    """The expert's logits, mixed with those that it had one token before."""

    peak_slots = 0

    def __init__(self, expert: LanguageModel, lanes: Sequence[Lane], weight: float) -> None:
        """Begin a batch of lanes."""
        self.weight = weight
        self.before: Tensor | None = None

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Read the prompts: the expert has done so."""

    def read(self, tokens: Tensor) -> None:
        """Read the beams' last tokens: the expert has done so."""

    def reorder(self, parent: Tensor) -> None:
        """Follow the beams: beam i of a lane now descends from beam parent[i]."""
        if self.before is not None:
            self.before = self.before.take_along_dim(parent[..., None], 1)

    def compact(self) -> None:
        """Drop what no beam needs: nothing is kept but the last logits."""

    def logits(self, expert: Tensor) -> Tensor:
        """Mix the logits of the next tokens."""
        mixed = expert if self.before is None else torch.lerp(expert, self.before, self.weight)
        self.before = expert
        return mixed
