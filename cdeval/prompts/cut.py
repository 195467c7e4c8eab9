"""The cut from texts to prompts: tokenise once, cut at fixed lengths, split and choose reproducibly."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from transformers import PreTrainedTokenizerBase

from cdeval.config.chat import ChatConfig
from cdeval.config.enums import Split
from cdeval.errors import PromptError
from cdeval.prompts.items import GivenPrompt, Text
from cdeval.prompts.tokens import TextCodec
from cdeval.records import Prompt, document_of, window_id

_T = TypeVar("_T")


class Cut(NamedTuple):
    """A text cut at fixed lengths, or why it could not be."""

    prompts: Sequence[Prompt]  # none: too short
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

    def cut(self, text: Text, prompt_tokens: int, at_least: int = 0, windows: int | None = 1) -> Cut:
        """Prompts and references of a text; none if it has fewer tokens than both together, or than `at_least`.

        The first prompt is the beginning of the text. Each further one, at most `windows` in all, or as many as there
        are, begins with the first paragraph that no window before it has read from.
        """
        needed = prompt_tokens + self.max_new_tokens
        tokens = self._codec.prompt_ids(text.text)
        if len(tokens) < max(needed, at_least):
            return Cut((), len(tokens))
        read = [tokens] if windows == 1 else [tokens, *self._later(text.text, needed)]
        prompts = [
            self._window(window_id(text.id, number), found, prompt_tokens)
            for number, found in enumerate(read[:windows], 1)
        ]
        return Cut(prompts, len(tokens))

    def _later(self, text: str, needed: int) -> Iterator[list[int]]:
        """The tokens of the runs of paragraphs, each just long enough, that follow upon the first such run."""
        paragraphs = text.split("\n")
        start = runs = 0
        for end in range(1, len(paragraphs) + 1):
            run = "\n".join(paragraphs[start:end])
            if len(run.encode()) + len(self._codec.leading) < needed:  # a token has a byte at least
                continue
            tokens = self._codec.prompt_ids(run)
            if len(tokens) >= needed:
                if runs:
                    yield tokens
                start, runs = end, runs + 1

    def _window(self, identifier: str, tokens: Sequence[int], prompt_tokens: int) -> Prompt:
        """The prompt and reference at the beginning of some tokens."""
        end = prompt_tokens + self.max_new_tokens
        prompt = self._prompt(identifier, tokens[:prompt_tokens], tokens[prompt_tokens:end])
        if self._chat is None:
            return prompt
        return replace(prompt, token_ids=tuple(self._codec.chat_ids(prompt.text, self._chat.system)))

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
    """Whether a text belongs to the split: a quarter of all ids is `tune`, by their SHA-256, the rest is `test`.

    All prompts of a text belong to its split.
    """
    tune = hashlib.sha256(document_of(identifier).encode()).digest()[0] < 64
    return split is Split.all or tune == (split is Split.tune)


def shuffled(items: Sequence[_T], seed: int) -> list[int]:
    """Positions in the order of choice: the first n are the choice of n, so smaller choices lie within larger."""
    order = list(range(len(items)))
    random.Random(seed).shuffle(order)
    return order
