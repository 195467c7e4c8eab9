"""The amateur's weight at single tokens, against full re-computation, and where it comes to something simpler."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Context, Form, Normalizer, TemperatureForm
from cdeval.config.targets import written
from cdeval.config.token_weight import Gate, TokenWeight, Weight
from cdeval.decode.amateurs.batch import Amateurs
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.decode.token_weight import token_weights
from cdeval.errors import ModelError
from cdeval.models.loading import LanguageModel
from tests.decode.amateurs.naive import PROMPTS, SEARCHES, last_logits, naive_text
from tests.decode.oracles import early_exit, setting

AMATEUR = Amateur("context", context=Context.generated)
BY_ENTROPY = TokenWeight(Weight.entropy)
CAPPED = TokenWeight(Weight.entropy, most=0.5)
UNSURE = TokenWeight(gate=Gate.entropy, entropy=1.5)
AGREEING = TokenWeight(gate=Gate.agreement)
CALLED = TokenWeight(gate=Gate.callable, call=written({"_target_": f"{__name__}.unsure", "most": 0.2}))
BOTH = TokenWeight(Weight.entropy, 2.0, Gate.agreement)
# Weights, with forms that use them otherwise; all of them are lanes of one pass.
CASES: list[dict[str, Any]] = [
    {"token_weight": BY_ENTROPY, "form": Form.amplified},
    {"token_weight": BY_ENTROPY, "beta": 0.3},
    {"token_weight": CAPPED},
    {"token_weight": UNSURE},
    {"token_weight": AGREEING, "form": Form.amplified},
    {"token_weight": BOTH},
    {"token_weight": CALLED},
    {},
]


def unsure(log_expert: torch.Tensor, amateur_logits: torch.Tensor, most: float = 0.5) -> torch.Tensor:
    """A gate: no token is likelier than `most`, and the amateur would say another one."""
    other = log_expert.argmax(dim=-1) != amateur_logits.argmax(dim=-1)
    return (log_expert.amax(dim=-1) < math.log(most)) & other


@pytest.mark.parametrize("search", SEARCHES, ids=lambda one: one["search"].name)
def test_a_text_is_the_naive_one(any_tiny: LanguageModel, search: dict[str, Any]) -> None:
    how = [setting(amateur=AMATEUR, max_new_tokens=5, alpha=0.02, **search, **case) for case in CASES]
    lanes = [Lane(PROMPTS[i % 3], one, f"p{i % 3}") for i, one in enumerate(how)]
    found, _ = decode_batch(any_tiny, lanes, 4, amateur_models={AMATEUR: any_tiny})
    for lane, one in zip(lanes, found, strict=True):
        last = lane.prompt[-1:]
        tokens, score = naive_text(any_tiny, lane, lambda text, last=last: last_logits(any_tiny, last + text))
        assert one.token_ids == tokens
        assert one.score == pytest.approx(score, abs=1e-3)


def test_weights_by_hand() -> None:
    """H(.5 .5) = .693 of the tokens that may be said: the third lane is sure, and in the fourth both do not agree."""
    own = (BY_ENTROPY, CAPPED, replace(UNSURE, entropy=0.7), AGREEING, AGREEING)
    settings = [early_exit(1, token_weight=one, beta=2.0) for one in own]
    log_expert = torch.tensor([0.4, 0.4 - 1e-6, 0.0]).log().expand(5, 1, 3).clone()
    logits = torch.tensor([[1.0, 2.0, 3.0]]).expand(5, 1, 3).clone()
    logits[4, 0, 0] = 2.5  # likelier than the second, while the third cannot be said
    weights = token_weights(settings, torch.device("cpu"))
    assert weights is not None
    assert weights.at(log_expert, logits).flatten().tolist() == pytest.approx([2 * math.log(2), 0.5, 0, 0, 2], abs=1e-4)


@pytest.mark.parametrize("search", SEARCHES, ids=lambda one: one["search"].name)
def test_a_gate_that_is_shut_leaves_the_expert_and_the_rule(
    search: dict[str, Any], tiny: Callable[[str], LanguageModel]
) -> None:
    """And one that is open anyway leaves the contrast; in one pass, over all forms of the temperature."""
    lm, shut, wide = tiny("llama"), replace(UNSURE, entropy=100.0), replace(UNSURE, entropy=0.0)
    own = early_exit(2, max_new_tokens=6, temperature_form=TemperatureForm.logprob, **search)
    pairs = [
        (replace(own, token_weight=shut), replace(own, beta=0.0)),
        (replace(own, token_weight=wide), own),
        (replace(own, token_weight=shut, form=Form.redistributed), replace(own, beta=0.0, form=Form.redistributed)),
    ]
    lanes = [Lane(PROMPTS[0], how, "p") for pair in pairs for how in pair]
    found, _ = decode_batch(lm, lanes, 4)
    for one, other in zip(found[::2], found[1::2], strict=True):
        assert one.token_ids == other.token_ids
        assert one.score == pytest.approx(other.score, abs=1e-4)


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("returned_scores", r"returned torch.float32 \[1, 1\]: expected truth values \(torch.bool\) of shape \[1, 1\]"),
        ("returned_tokens", r"returned torch.bool \[1, 1, 128\]: expected truth values"),
        ("raised", "raised RuntimeError: no such luck"),
    ],
)
def test_a_gate_that_says_something_else_is_named(gate: str, said: str, tiny: Callable[[str], LanguageModel]) -> None:
    own = TokenWeight(gate=Gate.callable, call=written({"_target_": f"{__name__}.{gate}"}))
    with pytest.raises(ModelError, match=f"contrast.gate_call: {gate} {said}"):
        decode_batch(tiny("llama"), [Lane(PROMPTS[0], early_exit(2, token_weight=own))], 4)


def returned_scores(log_expert: torch.Tensor, _amateur: torch.Tensor) -> torch.Tensor:
    return log_expert.amax(dim=-1)


def returned_tokens(log_expert: torch.Tensor, _amateur: torch.Tensor) -> torch.Tensor:
    return log_expert < 0


def raised(_expert: torch.Tensor, _amateur: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("no such luck")


def test_the_head_of_the_candidates_is_not_enough(tiny: Callable[[str], LanguageModel]) -> None:
    """The likeliest 64 tokens have less entropy than all of them, and their likeliest one is not the amateur's."""
    lm, plain = tiny("llama"), early_exit(2, normalizer=Normalizer.candidates)
    assert Amateurs([Lane(PROMPTS[0], plain)], lm, {}).only_candidates
    for own in (BY_ENTROPY, UNSURE, AGREEING):
        assert not Amateurs([Lane(PROMPTS[0], replace(plain, token_weight=own))], lm, {}).only_candidates
