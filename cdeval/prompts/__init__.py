"""Prompts: beginnings of texts, and how their authors went on."""

from cdeval.prompts.load import PromptSet, load_prompts

__all__ = ["PromptSet", "load_prompts"]
