"""Prompts: beginnings of texts, and how their authors went on."""

from cdeval.prompts.load import (
    PromptSet,
    load_prompts,
    one_prompt,
    other_texts,
    require_other_split,
    texts_to_learn_from,
    whole_texts,
)

__all__ = [
    "PromptSet",
    "load_prompts",
    "one_prompt",
    "other_texts",
    "require_other_split",
    "texts_to_learn_from",
    "whole_texts",
]
