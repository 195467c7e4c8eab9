"""The cut from texts to prompts: tokenise once, cut at fixed lengths, split and choose reproducibly."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from transformers import PreTrainedTokenizerBase

from cdeval.config.chat import ChatConfig
from cdeval.config.enums import Split
from cdeval.errors import PromptError
from cdeval.prompts.items import GivenPrompt, Text
from cdeval.prompts.tokens import TextCodec
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

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int, chat: ChatConfig | None = None) -> None:
        """Take a tokenizer; `chat` says how what is cut is wrapped as the words of a user."""
        self.max_new_tokens = max_new_tokens
        self._chat = chat
        self._codec = TextCodec(tokenizer)

    def cut(self, text: Text, prompt_tokens: int, at_least: int = 0) -> Cut:
        """Prompt and reference of a text; none if it has fewer tokens than both together, or than `at_least`."""
        tokens = self._codec.prompt_ids(text.text)
        end = prompt_tokens + self.max_new_tokens
        if len(tokens) < max(end, at_least):
            return Cut(None, len(tokens))
        prompt = self._prompt(text.id, tokens[:prompt_tokens], tokens[prompt_tokens:end])
        if self._chat is not None:
            prompt = replace(prompt, token_ids=tuple(self._codec.chat_ids(prompt.text, self._chat.system)))
        return Cut(prompt, len(tokens))

    def whole(self, pair: GivenPrompt) -> Prompt:
        """A prompt used as it is, whatever its length, and the beginning of its reference.

        The reference is tokenised by itself, as the model writes it, after the prompt's last token.

        Raises: PromptError: the prompt yields no tokens.
        """
        return self.all_whole([pair])[0]

    def all_whole(self, pairs: Sequence[GivenPrompt]) -> list[Prompt]:
        """Cut many texts as `whole` does one, in less than half of the time."""
        prompts = self._read([pair.whole for pair in pairs])
        alone = iter(self._read([pair.prompt for pair in pairs if pair.context is not None]))
        without_context = [None if pair.context is None else next(alone) for pair in pairs]
        for pair, tokens, rest in zip(pairs, prompts, without_context, strict=True):
            if not tokens or (rest is not None and not rest):
                raise PromptError(
                    f"prompts.path: the prompt {pair.id!r} ({pair.prompt!r}) yields no tokens; delete the item."
                )
        references = iter(
            self._codec.all_continuation_ids(
                [pair.reference for pair in pairs if pair.reference is not None],
                [tokens for pair, tokens in zip(pairs, prompts, strict=True) if pair.reference is not None],
            )
        )
        found = [
            self._prompt(pair.id, tokens, None if pair.reference is None else next(references)[: self.max_new_tokens])
            for pair, tokens in zip(pairs, prompts, strict=True)
        ]
        return [
            replace(
                prompt,
                text=prompt.text if self._chat is None else pair.whole,
                without_context=None if rest is None else tuple(rest),
            )
            for pair, prompt, rest in zip(pairs, found, without_context, strict=True)
        ]

    def _read(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of prompts as the expert reads them."""
        if self._chat is None:
            return self._codec.all_prompt_ids(texts)
        return [self._codec.chat_ids(text, self._chat.system) for text in texts]

    def _prompt(self, identifier: str, tokens: Sequence[int], reference: Sequence[int] | None) -> Prompt:
        return Prompt(
            id=identifier,
            text=self._codec.prompt_text(tokens),
            token_ids=tuple(tokens),
            reference=None if reference is None else self._codec.continuation_text(reference, tokens),
            reference_token_ids=None if reference is None else tuple(reference),
        )


def in_split(identifier: str, split: Split) -> bool:
    """Whether a text belongs to the split: a quarter of all ids is `tune`, by their SHA-256, the rest is `test`."""
    tune = hashlib.sha256(identifier.encode()).digest()[0] < 64
    return split is Split.all or tune == (split is Split.tune)


def shuffled(items: Sequence[_T], seed: int) -> list[int]:
    """Positions in the order of choice: the first n are the choice of n, so smaller choices lie within larger."""
    order = list(range(len(items)))
    random.Random(seed).shuffle(order)
    return order
