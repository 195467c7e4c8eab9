"""The interface between the engine and an amateur: what it is made of, and the logits that it gives step by step."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from cdeval.models.loading import LanguageModel


@runtime_checkable
class Digested(Protocol):
    """A lens, counts, or anything else that an amateur is made of and that is no model."""

    @property
    def digest(self) -> str:
        """Name the content: another one makes other texts."""


AmateurModel: TypeAlias = LanguageModel | Digested  # that an amateur is made of, beside the expert


@runtime_checkable
class Source(Protocol):
    """The state of one amateur between steps, for the lanes that have it.

    The engine calls `prefill` once and `logits` after it; then, for every step: `reorder`, `read`, `logits`, and at
    times `compact`.
    """

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

    def logits(self, expert: Float[Tensor, "lane beam vocab"]) -> Float[Tensor, "lane beam vocab"]:
        """Logits of the next tokens after what was read last, as wide as the expert's own, which are given."""
