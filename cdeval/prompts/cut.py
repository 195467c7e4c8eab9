"""From texts to prompts: tokenise once, cut at fixed lengths, split and choose reproducibly."""

import hashlib
import random
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from transformers import PreTrainedTokenizerBase

from cdeval.choices import Split
from cdeval.errors import PromptError
from cdeval.prompts.items import Pair
from cdeval.prompts.texts import Text
from cdeval.records import Prompt

_T = TypeVar("_T")


class Cut(NamedTuple):
    """A text cut at fixed lengths, or why it could not be."""

    prompt: Prompt | None  # None: too short
    tokens: int  # length of the whole text


class Cutter:
    """Cuts with one tokenizer: `prompt_tokens` of a text are the prompt, the next `max_new_tokens` the reference.

    The tokenizer's own leading token (BOS), where it adds one, is the first of the prompt's tokens; what it would
    append (EOS) is left away, because a prompt is to be continued.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.max_new_tokens = max_new_tokens
        self.leading, self.trailing = _added_tokens(tokenizer)

    def cut(self, text: Text, prompt_tokens: int, at_least: int = 0) -> Cut:
        """Prompt and reference of a text; none if it has fewer tokens than both together, or than `at_least`."""
        tokens = self.tokens(text.text)
        end = prompt_tokens + self.max_new_tokens
        if len(tokens) < max(end, at_least):
            return Cut(None, len(tokens))
        return Cut(self._prompt(text.id, tokens[:prompt_tokens], tokens[prompt_tokens:end]), len(tokens))

    def whole(self, pair: Pair) -> Prompt:
        """A prompt used as it is, whatever its length, and the beginning of its reference.

        The reference is tokenised by itself, as the model writes it, after the prompt's last token.

        Raises: PromptError: the prompt yields no tokens.
        """
        tokens = self.tokens(pair.prompt)
        if len(tokens) <= self.leading:
            raise PromptError(
                f"prompts.path: the prompt {pair.id!r} ({pair.prompt!r}) yields no tokens; delete the item."
            )
        reference = None
        if pair.reference is not None:
            plain = self.tokenizer(pair.reference, add_special_tokens=False, verbose=False)["input_ids"]
            reference = plain[: self.max_new_tokens]
        return self._prompt(pair.id, tokens, reference)

    def tokens(self, text: str) -> list[int]:
        """The text's tokens, with the tokenizer's leading ones and without its trailing ones."""
        # verbose=False: a text longer than the model's context is no news, it is about to be cut.
        tokens: list[int] = self.tokenizer(text, verbose=False)["input_ids"]
        return tokens[: len(tokens) - self.trailing]

    def _prompt(self, identifier: str, tokens: Sequence[int], reference: Sequence[int] | None) -> Prompt:
        return Prompt(
            id=identifier,
            text=self._decode(tokens),
            token_ids=tuple(tokens),
            reference=None if reference is None else self._decode(reference),
            reference_token_ids=None if reference is None else tuple(reference),
        )

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


class _Added(NamedTuple):
    leading: int
    trailing: int


def _added_tokens(tokenizer: PreTrainedTokenizerBase) -> _Added:
    """How many tokens the tokenizer puts around any text, found by asking it."""
    probe = "a"
    plain = tokenizer(probe, add_special_tokens=False)["input_ids"]
    full = tokenizer(probe)["input_ids"]
    for leading in range(len(full) - len(plain) + 1):
        if full[leading : leading + len(plain)] == plain:
            return _Added(leading, len(full) - len(plain) - leading)
    return _Added(0, 0)


def in_split(identifier: str, split: Split) -> bool:
    """Whether a text belongs to the split: a quarter of all ids is `tune`, by their SHA-256, the rest is `test`."""
    tune = hashlib.sha256(identifier.encode()).digest()[0] < 64
    return split is Split.all or tune == (split is Split.tune)


def shuffled(items: Sequence[_T], seed: int) -> list[int]:
    """Positions in the order of choice: the first n are the choice of n, so smaller choices lie within larger."""
    order = list(range(len(items)))
    random.Random(seed).shuffle(order)
    return order
