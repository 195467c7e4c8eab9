"""Texts of a contrast with any amateur, from its logits alone: no cache, no lanes, one full forward pass a token."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from cdeval.config.enums import Form, SearchKind
from cdeval.config.setting import Sampling, Setting
from cdeval.decode.lanes import Lane
from cdeval.models.loading import LanguageModel
from cdeval.models.vocabulary import banned_tokens
from tests.decode.oracles import best_text, drawn_text, implausible, setting

PROMPTS = [(5, 17, 40, 8, 77), (90, 3, 3, 61, 20), (33, 34, 35, 36, 37)]
SEARCHES: list[dict[str, Any]] = [
    {"search": SearchKind.beam, "beams": 4},
    {"search": SearchKind.greedy, "beams": 1},
    {"search": SearchKind.sample, "beams": 1, "sampling": Sampling(seed=3)},
]
AmateurLogits = Callable[[tuple[int, ...]], torch.Tensor]  # by the text so far, without the prompt


def settings_of(amateur: object, **changes: Any) -> list[Setting]:
    """One setting a search, short."""
    plain = {"amateur": amateur, "max_new_tokens": 6, "temperature": 0.5, "alpha": 0.05}
    return [setting(**{**plain, **search, **changes}) for search in SEARCHES]


def lanes_of(*settings: Setting) -> list[Lane]:
    """Every setting on every prompt."""
    return [Lane(prompt, how, f"p{i}") for i, prompt in enumerate(PROMPTS) for how in settings]


@torch.inference_mode()
def last_logits(lm: LanguageModel, ids: tuple[int, ...]) -> torch.Tensor:
    """Of the token after these, by one full forward pass."""
    logits: torch.Tensor = lm.model(torch.tensor([ids])).logits[0, -1].float()
    return logits


def naive_text(lm: LanguageModel, lane: Lane, amateur: AmateurLogits) -> tuple[tuple[int, ...], float]:
    """The text of a lane and its score."""
    how = lane.setting
    banned = list(banned_tokens(how.ban, lm.model, lm.tokenizer))

    def scores(text: tuple[int, ...]) -> torch.Tensor:
        log_expert = torch.log_softmax(last_logits(lm, lane.prompt + text), -1)
        log_expert[banned] = -math.inf
        log_amateur = torch.log_softmax(amateur(text) / how.temperature, -1)
        own = 1 + how.beta if how.form is Form.amplified else 1.0
        found = own * log_expert - how.beta * log_amateur
        return found.masked_fill(implausible(log_expert, how), -math.inf)

    return drawn_text(scores, lane)[:2] if how.search is SearchKind.sample else best_text(scores, how)


def without_amateur(how: Setting) -> Setting:
    """The same search by the expert alone, to see whether an amateur makes a difference."""
    return replace(how, beta=0.0)
