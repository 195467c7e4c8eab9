"""Amateurs that read the beams' tokens themselves: a second model, the truncated expert, n-gram counts."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config.enums import Context
from cdeval.config.setting import Amateur
from cdeval.decode.ngrams import NgramReader, Ngrams
from cdeval.decode.reader import Reader
from cdeval.models.lens import TunedLens
from cdeval.models.loading import LanguageModel

Second: TypeAlias = LanguageModel | Ngrams | TunedLens  # what a lane's amateur is made of, beside the expert


@runtime_checkable
class Source(Protocol):
    """The state of one amateur between steps, for the lanes that have it."""

    @property
    def peak_slots(self) -> int:
        """Most key-value slots a lane held at once."""

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Read the lanes' prompts."""

    def read(self, tokens: Int[Tensor, "lane beam"]) -> None:
        """Read the last tokens of all beams."""

    def reorder(self, parent: Int[Tensor, "lane beam"]) -> None:
        """Beam i of a lane now descends from beam parent[i]."""

    def compact(self) -> None:
        """Drop what no living beam descends from."""

    def logits(self) -> Float[Tensor, "lane beam vocab"]:
        """Of the next tokens after what was read last, as wide as the expert's."""


def open_source(amateur: Amateur, second: Second, expert: LanguageModel, beams: int) -> Source:
    """A fresh state for one batch. Raises: TypeError: `second` reads no tokens."""
    vocab = expert.parts.head_weight.shape[0]
    if isinstance(second, Ngrams):
        return NgramReader(second, amateur.context, vocab, expert.device)
    if isinstance(second, LanguageModel):
        return SecondModel(second, amateur.context, vocab, beams)
    raise TypeError(f"{type(second).__name__} reads no tokens")


def own_prompt(prompt: tuple[int, ...], context: Context) -> tuple[int, ...]:
    """What an amateur reads of a prompt; with its context ignored, the last token alone (Li et al. 2022)."""
    return prompt if context is Context.full else prompt[-1:]


class SecondModel:
    """A model with a cache of its own."""

    def __init__(self, model: LanguageModel, context: Context, vocab: int, beams: int) -> None:
        self._reader, self._model = Reader(model, beams), model
        self._context, self._vocab = context, vocab
        self._hidden: Float[Tensor, "lane beam width"] = torch.empty(0, 0, 0)

    @property
    def peak_slots(self) -> int:
        """Most key-value slots a lane held at once."""
        return self._reader.cache.peak_slots

    def prefill(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Read the lanes' prompts, or their last tokens at position 0."""
        hidden, sources = self._reader.prefill([own_prompt(prompt, self._context) for prompt in prompts])
        self._hidden = hidden[sources, -1:]

    def read(self, tokens: Int[Tensor, "lane beam"]) -> None:
        """Read the last tokens of all beams."""
        self._hidden = self._reader.read(tokens)

    def reorder(self, parent: Int[Tensor, "lane beam"]) -> None:
        """Beam i of a lane now descends from beam parent[i]."""
        self._reader.cache.reorder(parent)

    def compact(self) -> None:
        """Drop the slots no living beam descends from."""
        self._reader.cache.compact()

    def logits(self) -> Float[Tensor, "lane beam vocab"]:
        """Of the next tokens; rows that pad one vocabulary beyond the other's have no token: cut, or improbable."""
        logits = self._model.parts.logits(self._hidden)
        missing = self._vocab - logits.shape[-1]
        if missing <= 0:
            return logits[..., : self._vocab]
        lowest = logits.amin(dim=-1, keepdim=True).expand(*logits.shape[:-1], missing)
        return torch.cat([logits, lowest], dim=-1)
