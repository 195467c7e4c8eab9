"""Texts of a contrast with any amateur, from its logits alone: no cache, no lanes, one full forward pass a token."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from cdeval.config.enums import Form, SearchKind
from cdeval.config.setting import Sampling, Setting
from cdeval.config.token_weight import Gate, Weight, gate_of
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Continuation, Lane
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
        beta = weight_of(how, log_expert, amateur(text))
        own = 1 + beta if how.form is Form.amplified else 1.0
        found = own * log_expert - beta * log_amateur
        return found.masked_fill(implausible(log_expert, how), -math.inf)

    return drawn_text(scores, lane)[:2] if how.search is SearchKind.sample else best_text(scores, how)


def weight_of(how: Setting, log_expert: torch.Tensor, amateur_logits: torch.Tensor) -> float:
    """The amateur's weight at one token, of those that may be said."""
    own = how.token_weight
    p = [one for one in log_expert.double().exp().tolist() if one > 0]
    total = math.fsum(p)
    entropy = -sum(one / total * math.log(one / total) for one in p)
    said = [token for token, value in enumerate(log_expert.tolist()) if value > -math.inf]
    if own.gate is Gate.callable:
        (opened,) = gate_of(json.loads(own.call))(log_expert[None, None], amateur_logits[None, None]).flatten()
        return how.beta if opened else 0.0
    if own.gate is Gate.entropy and not entropy > (own.entropy or 0):
        return 0.0
    if own.gate is Gate.agreement and max(said, key=lambda one: float(amateur_logits[one])) != int(log_expert.argmax()):
        return 0.0
    if own.weight is Weight.constant:
        return how.beta
    return how.beta * entropy if own.most is None else min(how.beta * entropy, own.most)


def texts(lm: LanguageModel, loaded: AmateurModel, *settings: Setting) -> list[tuple[Lane, Continuation]]:
    """All prompts under settings of one amateur; settings of different searches share no pass."""
    found = []
    for how in settings:
        lanes = lanes_of(how)
        found += zip(lanes, decode_batch(lm, lanes, 4, amateur_models={how.amateur: loaded})[0], strict=True)
    return found


def check_texts(
    lm: LanguageModel,
    loaded: AmateurModel,
    amateur_of: Callable[[tuple[int, ...]], AmateurLogits],
    *settings: Setting,
) -> None:
    """Compare the engine with `naive_text`; `amateur_of` gives the amateur's logits by the prompt."""
    made = texts(lm, loaded, *settings)
    for lane, found in made:
        tokens, score = naive_text(lm, lane, amateur_of(lane.prompt))
        assert found.token_ids == tokens
        assert found.score == pytest.approx(score, abs=1e-3)
    alone = texts(lm, loaded, *[replace(how, beta=0.0) for how in settings])
    assert [one.token_ids for _, one in made] != [one.token_ids for _, one in alone], "the amateur makes no difference"
