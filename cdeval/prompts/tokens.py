"""Text to token ids and back: the one place where cdeval asks a tokenizer for either.

A prompt begins as the tokenizer begins a text, with BOS where it adds one, and lacks what it would append (EOS),
because it is to be continued. A continuation stands in the middle of a text, on both ways: it is decoded together with
its prompt, since decoders may treat the first token otherwise (Llama 2's strips its space), and is read without the
space that such tokenizers put before a text. The tokenizer's clean-up of spaces is never applied.

A chat model reads a prompt as the words of a user, wrapped by the template that its tokenizer brings:

    The river  ->  <|im_start|>user The river <|im_end|> <|im_start|>assistant

What follows is the answer. References and metrics are of the answer, and know the prompt as the user said it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from cdeval.errors import PromptError, one_line
from cdeval.records import Generation

_PROBES = ("a", "0", ".", "的")  # texts of one word, one of which every tokenizer knows
_ANCHORS = ("\n", ".", "a", "0")  # texts to stand before a continuation
_AT_ONCE = 1000  # texts that are tokenised by one call
_BROKEN = "\N{REPLACEMENT CHARACTER}"  # what a part of a character decodes to


class TextCodec:
    """A codec from texts to token ids and back, by one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._leading, self._trailing = _added_tokens(tokenizer)
        mark = "".join(tokenizer.convert_ids_to_tokens(list(self._leading)))
        # A tokenizer may take its special tokens for text where they stand in one (`split_special_tokens`).
        self._mark = mark if tuple(self._plain(mark)) == self._leading else ""
        probe = next(filter(None, map(self._plain, _PROBES)), [])
        self._anchor = probe[-1:]
        # Read twice and decoded together, the probe shows whether a text gets a space before it.
        self._adds_space = " " in self._decode([*probe, *probe])

    @property
    def leading(self) -> tuple[int, ...]:
        """The tokens that the tokenizer puts before every text: BOS, or nothing."""
        return self._leading

    def prompt_ids(self, text: str) -> list[int]:
        """The tokens of a text that the model reads from its beginning; none where the text itself yields none.

        A text that begins with BOS already, as one from a chat template does, gets no second one.
        """
        return self.all_prompt_ids([text])[0]

    def all_prompt_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode many texts as `prompt_ids` does one, in less than half of the time."""
        rests = [self._behind_mark(text) for text in texts]
        own = iter(self._own([text for text, rest in zip(texts, rests, strict=True) if text == rest]))
        found = []
        for text, rest in zip(texts, rests, strict=True):
            ids = next(own) if text == rest else self._after_mark(rest)
            found.append([*self._leading, *ids] if ids or text != rest else [])
        return found

    def chat_ids(self, text: str, system: str | None) -> list[int]:
        """The tokens of a chat that begins with these words of a user, up to where the answer begins.

        Args: text: the words. system: what stands before them; None: what the template says itself.
        Raises: PromptError: the tokenizer has no template, or that refuses the chat.
        """
        said = [{"role": "user", "content": text}]
        if system is not None:
            said.insert(0, {"role": "system", "content": system})
        name = self._tokenizer.name_or_path or "the expert"
        if not getattr(self._tokenizer, "chat_template", None):
            raise PromptError(
                f"prompts.chat_template=true: the tokenizer of {name} has no chat template. Choose a model that was "
                "trained to chat, or leave the setting out."
            )
        try:
            wrapped = self._tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template is a program of the model's, in a sandbox: it raises what it likes
            hint = "" if system is None else " Some templates take no system prompt: leave prompts.system out."
            raise PromptError(
                f"prompts.chat_template=true: the template of {name} refuses {text[:40]!r}: "
                f"{one_line(error, 160)}.{hint}"
            ) from error
        return self._plain(wrapped)  # the template writes special tokens itself, BOS included

    def marks(self, ids: Sequence[int]) -> int:
        """Count the first tokens of a text that mark its beginning: BOS, added or written."""
        lead = len(self._leading)
        if lead and tuple(ids[:lead]) == self._leading:
            return lead
        return int(len(ids) > 0 and ids[0] == self._tokenizer.bos_token_id)

    def prompt_text(self, ids: Sequence[int]) -> str:
        """The text of a prompt, without special tokens."""
        return self._decode(ids)

    def continuation_ids(self, text: str, prompt: Sequence[int] = ()) -> list[int]:
        """The tokens of a text that goes on after the tokens of a prompt.

        It is read on its own, so a word that the seam cuts in two stays cut, and as it stands: without a space that it
        does not begin with. After a prompt without text (none, or BOS alone) it is read as the beginning of a text.
        """
        return self.all_continuation_ids([text], [prompt])[0]

    def all_continuation_ids(self, texts: Sequence[str], prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Encode many texts as `continuation_ids` does one, each after its prompt, in less than half of the time."""
        found: dict[int, list[int]] = {}
        left = self._after_text(prompts) if self._adds_space else []
        for anchor in _ANCHORS if left else ():
            before, both = self._plain(anchor), self._all_plain([anchor + texts[place] for place in left])
            # Where a token ends between the two, what follows is what the text is anywhere but at the beginning.
            found |= {
                place: ids[len(before) :]
                for place, ids in zip(left, both, strict=True)
                if before and ids[: len(before)] == before
            }
            left = [place for place in left if place not in found]
        rest = [place for place in range(len(texts)) if place not in found]
        found |= zip(rest, self._all_plain([texts[place] for place in rest]), strict=True)
        return [found[place] for place in range(len(texts))]

    def continuation_text(self, ids: Sequence[int], prompt: Sequence[int]) -> str:
        """Decode what the tokens add to the text of a prompt, without special tokens.

        Decoded alone where the seam cuts a character in two, or where the text of both does not begin with the
        prompt's: the parts of a character then are U+FFFD on both sides.
        """
        alone, head, both = self._decode(ids), self._decode(prompt), self._decode([*prompt, *ids])
        if not both.startswith(head):
            return alone
        added = both[len(head) :]
        whole = not head.endswith(_BROKEN) or (added.endswith(alone) and not added.removesuffix(alone).strip())
        return added if whole else alone

    def token_text(self, token: int) -> str:
        """Decode what one token adds in the middle of a text; a special token is shown by its name."""
        head, both = (self._decode([*self._anchor, *more], special=True) for more in ([], [token]))
        return both.removeprefix(head) if both.startswith(head) else self._decode([token], special=True)

    def _behind_mark(self, text: str) -> str:
        """The text behind the BOS, or several, that it begins with."""
        while self._mark and text.lstrip().startswith(self._mark):
            text = text.lstrip()[len(self._mark) :]
        return text

    def _after_text(self, prompts: Sequence[Sequence[int]]) -> list[int]:
        """The places of the prompts that hold text."""
        texts = {prompt: self._decode(prompt) for prompt in set(map(tuple, prompts))}
        return [place for place, prompt in enumerate(prompts) if texts[tuple(prompt)]]

    def _own(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text between those that the tokenizer adds, whatever stands in the text."""
        found = self._tokens(texts, add_special_tokens=True)
        return [tokens[len(self._leading) : len(tokens) - self._trailing] for tokens in found]

    def _plain(self, text: str) -> list[int]:
        return self._all_plain([text])[0]

    def _all_plain(self, texts: Sequence[str]) -> list[list[int]]:
        return self._tokens(texts, add_special_tokens=False)

    def _tokens(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[int]]:
        """The tokens of each text, asked for in parts: an encoding holds ten times as much as the tokens."""
        found: list[list[int]] = []
        for at in range(0, len(texts), _AT_ONCE):
            # verbose=False: a text longer than the model's context is no news, it is about to be cut.
            found += self._tokenizer(
                list(texts[at : at + _AT_ONCE]), add_special_tokens=add_special_tokens, verbose=False
            )["input_ids"]
        return found

    def _after_mark(self, rest: str) -> list[int]:
        """The tokens of a text after the BOS that it begins with: those of the text without it.

        A space between the two is one that the tokenizer writes there itself (Llama 2 decodes to "<s> The"), or it is
        the text's own.
        """
        for candidate in (rest, rest.removeprefix(" ")):
            (found,) = self._own([candidate])
            if self._decode([*self._leading, *found], special=True) == self._mark + rest:
                return found
        return self._own([rest])[0]

    def _decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False
        )
        return text


def with_tokens(generations: Sequence[Generation], tokenizer: PreTrainedTokenizerBase) -> list[Generation]:
    """The generations with this tokenizer's tokens of prompt and continuation, and so without a log-probability.

    Each side is read on its own, as in the field's protocols: a word that the seam cuts in two stays cut. A prompt
    without tokens is a beginning of text alone, so that the first word of the continuation has a distribution to come
    from.
    """
    codec = TextCodec(tokenizer)
    marks = (tokenizer.bos_token_id, tokenizer.eos_token_id, *codec.leading, 0)
    beginning = next(mark for mark in marks if mark is not None)
    texts = list(dict.fromkeys(generation.prompt for generation in generations))
    ids = [tuple(found) or (beginning,) for found in codec.all_prompt_ids(texts)]
    of_text = dict(zip(texts, ids, strict=True))
    prompts = [of_text[generation.prompt] for generation in generations]
    continuations = codec.all_continuation_ids([generation.continuation for generation in generations], prompts)
    return [
        replace(generation, prompt_token_ids=prompt, token_ids=tuple(tokens), logprob_expert=None)
        for generation, prompt, tokens in zip(generations, prompts, continuations, strict=True)
    ]


class _Added(NamedTuple):
    leading: tuple[int, ...]
    trailing: int


def _added_tokens(tokenizer: PreTrainedTokenizerBase) -> _Added:
    """Find by asking the tokenizer which tokens it puts before any text, and how many after it."""
    for probe in _PROBES:
        plain = tokenizer(probe, add_special_tokens=False)["input_ids"]
        full = tokenizer(probe)["input_ids"]
        for leading in range(len(full) - len(plain) + 1) if plain else ():
            if full[leading : leading + len(plain)] == plain:
                return _Added(tuple(full[:leading]), len(full) - len(plain) - leading)
    return _Added((), 0)
