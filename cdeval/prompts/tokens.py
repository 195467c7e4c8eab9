"""Texts that have no tokens of a model, or another model's: its tokenizer gives them some."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from transformers import PreTrainedTokenizerBase

from cdeval.prompts.cut import Cutter
from cdeval.records import Generation


def with_tokens(generations: Sequence[Generation], tokenizer: PreTrainedTokenizerBase) -> list[Generation]:
    """The generations with this tokenizer's tokens of prompt and continuation, and so without a log-probability.

    Each side is read on its own, as in the field's protocols: a word that the seam cuts in two stays cut. A prompt
    begins as the tokenizer begins texts, without what it would append (EOS): it goes on. One without tokens is a
    beginning of text alone, so that the first word of the continuation has a distribution to come from.
    """
    cutter = Cutter(tokenizer, max_new_tokens=0)
    marks = (tokenizer.bos_token_id, tokenizer.eos_token_id, 0)
    beginning = next(mark for mark in marks if mark is not None)
    prompts: dict[str, tuple[int, ...]] = {}

    def of_prompt(text: str) -> tuple[int, ...]:
        if text not in prompts:
            ids = tuple(cutter.tokens(text))
            prompts[text] = ids if len(ids) > cutter.leading else (beginning,)
        return prompts[text]

    def of_continuation(text: str) -> tuple[int, ...]:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return tuple(cast("list[int]", ids))

    return [
        replace(
            generation,
            prompt_token_ids=of_prompt(generation.prompt),
            token_ids=of_continuation(generation.continuation),
            logprob_expert=None,
        )
        for generation in generations
    ]
