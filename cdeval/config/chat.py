"""The settings of prompts that a chat model reads, which the group `prompts` has beside its own."""

from dataclasses import dataclass

from cdeval.config.enums import Weights
from cdeval.config.fields import TextForm, When, only, written_unless_default

_STORED = only("expert.weights", Weights.stored)
_CHATTED = When("prompts.chat_template", bool, "add prompts.chat_template=true")


@dataclass(kw_only=True)
class ChatConfig:
    """How a prompt is said to a chat model (`cdeval.prompts.tokens`)."""

    # Wrap each prompt as the words of a user by the tokenizer's chat template; the answer is the continuation.
    chat_template: bool = written_unless_default(_STORED, default=False)
    # Of a chat, before the user's words; null: what the template says itself.
    system: str | None = written_unless_default(_STORED, _CHATTED, default=None, form=TextForm.prose)
