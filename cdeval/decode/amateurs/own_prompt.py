"""The tokens that an amateur with its own pass reads in the place of a prompt, by its context (`enums.Context`)."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Context
from cdeval.errors import ConfigError, PromptError
from cdeval.prompts.tokens import TextCodec
from cdeval.records import Prompt

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OwnPrompt:
    """One context, with the tokens that stand for every prompt where it is `empty` or `negative`."""

    context: Context
    instead: Tokens = ()

    @classmethod
    def from_amateur(cls, amateur: Amateur, tokenizer: PreTrainedTokenizerBase) -> "OwnPrompt":
        """Read the context of an amateur. Raises: ConfigError: there are no tokens to read instead of a prompt."""
        if amateur.context is Context.empty:
            return cls(amateur.context, beginning(tokenizer))
        if amateur.context is not Context.negative:
            return cls(amateur.context)
        text = amateur.negative or ""
        found = tuple(TextCodec(tokenizer).prompt_ids(text))
        if not found:
            raise ConfigError(f"amateur.negative={text!r} yields no tokens: give some text, or amateur.context=empty.")
        return cls(amateur.context, found)

    def read(self, prompt: Tokens, without_context: Tokens | None = None) -> Tokens:
        """Return what the amateur reads of a prompt. Raises: PromptError: its context is to go, and it has none."""
        match self.context:
            case Context.full:
                return prompt
            case Context.generated:
                return prompt[-1:]
            case Context.removed:
                if without_context is None:
                    raise _without_one("a prompt")
                return without_context
        return self.instead

    def lengths(self, prompts: tuple[Prompt, ...]) -> set[int]:
        """Count the tokens that are read of prompts.

        Raises: PromptError: a context is to go that is not there; names the prompt.
        """
        for prompt in prompts:
            if self.context is Context.removed and prompt.without_context is None:
                raise _without_one(repr(prompt.id))
        return {len(self.read(prompt.token_ids, prompt.without_context)) for prompt in prompts}


def _without_one(prompt: str) -> PromptError:
    """Make the error of a prompt whose context is to go, and which has none."""
    return PromptError(
        f"amateur.context=removed takes the `context` of every prompt away, and {prompt} has none: expected "
        "prompts=file with `context` beside `prompt` in every item."
    )


def beginning(tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """Return what begins a text: what the tokenizer puts there, else its BOS, else the end of the text before.

    Raises: ConfigError: it has none of them.
    """
    leading = TextCodec(tokenizer).leading
    if leading:
        return leading
    mark = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if mark is None:
        raise ConfigError(
            "amateur.context=empty needs a token that begins a text, and the expert's tokenizer has none: give "
            "amateur.context=negative amateur.negative=<text>, or amateur.context=generated."
        )
    return (int(mark),)
