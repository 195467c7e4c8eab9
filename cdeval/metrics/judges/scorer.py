"""The interface of a scoring language model, and how texts of unequal length are batched for it."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cdeval.prompts.tokens import with_tokens
from cdeval.records import Generation

Key = TypeVar("Key", bound=Hashable)


class Scorer(Protocol):
    """A causal language model in evaluation mode, with its tokenizer; `cdeval.models.loading.ReadingModel` is one."""

    @property
    def name(self) -> str:
        """The name in the notes of the scores."""

    @property
    def model(self) -> PreTrainedModel:
        """The weights."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Text to tokens."""

    @property
    def fingerprint(self) -> str:
        """Tells its weights from any others."""


class TextReader(NamedTuple):
    """A model that reads texts, and whether their token ids are its own."""

    scorer: Scorer
    retokenise: bool  # the generations' token ids are another model's, or missing

    def read(self, generations: Sequence[Generation]) -> list[Generation]:
        """Encode the texts in this model's tokens (`cdeval.prompts.tokens`)."""
        return with_tokens(generations, self.scorer.tokenizer) if self.retokenise else list(generations)


def described(scorer: Scorer) -> str:
    """Name a scorer and its number format, for messages."""
    return f"{scorer.name} in {str(scorer.model.dtype).removeprefix('torch.')}"


def identity(scorer: Scorer) -> str:
    """Weights, number format and device: what a row of this model depends on besides the text."""
    return f"{scorer.fingerprint} {scorer.model.dtype} {scorer.model.device.type}"


def context_length(scorer: Scorer) -> int | None:
    """Read how many tokens the model reads at once; None where its configuration sets no limit."""
    limit: int | None = getattr(scorer.model.config, "max_position_embeddings", None)
    return limit


def equal_batches(keys: Sequence[Key], largest: Callable[[Key], int]) -> Iterator[list[int]]:
    """Indices of equal keys, at most `largest(key)` at a time (at least one), each index once.

    Texts of one shape need no padding, hence no mask, and score the same in any company.

    >>> list(equal_batches([3, 5, 3, 3], lambda length: 2))
    [[0, 2], [3], [1]]
    """
    groups: dict[Key, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    for key, indices in groups.items():
        size = max(1, largest(key))
        for start in range(0, len(indices), size):
            yield indices[start : start + size]
