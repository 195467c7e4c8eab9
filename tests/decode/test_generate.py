"""Texts by transformers' own generate, as an arm: those that calling it directly gives, and what is refused."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from cdeval.config.enums import Ban, SearchKind
from cdeval.config.schema import SearchConfig
from cdeval.config.setting import Sampling, Setting
from cdeval.config.targets import written
from cdeval.decode.engine import decode_batch
from cdeval.decode.generate import check_arguments, seed_of
from cdeval.decode.lanes import Continuation, Lane
from cdeval.errors import ConfigError, ModelError
from cdeval.models.loading import LanguageModel
from cdeval.models.vocabulary import banned_tokens
from examples.generate.methods import TopNSigma, early_layer
from tests.conftest import EVERY_RUN, build_model
from tests.decode.oracles import setting

METHODS = "examples.generate.methods"
PROMPTS = [(5, 17, 40, 8, 77), (90, 3, 3), (33, 34, 35, 36, 37)]
NEW = 8
Tiny = Callable[[str], LanguageModel]


def by(generate: Mapping[str, Any], ban: Ban = Ban.special, seed: int = 0, samples: int = 1) -> Setting:
    own = Sampling(seed=seed, samples=samples)
    changes = {"search": SearchKind.hf, "beams": 1, "max_new_tokens": NEW, "ban": ban, "sampling": own}
    return setting(**changes, generate=written(generate))


def decoded(lm: LanguageModel, how: Setting, sample: int = 0) -> list[Continuation]:
    lanes = [Lane(prompt, how, str(prompt), sample) for prompt in PROMPTS]
    return [decode_batch(lm, [lane], 4)[0][0] for lane in lanes]


def own_early_layer(
    model: Any, input_ids: Any, logits_processor: Any, generation_config: Any, **_: Any
) -> torch.Tensor:
    found: torch.Tensor = early_layer(model, input_ids, logits_processor, generation_config, layer=2, alpha=0.2)
    return found


# What cdeval is told, and what a caller of transformers gives.
ARGUMENTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "greedy": ({}, {}),
    "beam": ({"num_beams": 3, "length_penalty": 0.0}, {"num_beams": 3, "length_penalty": 0.0}),
    "top-nσ": (
        {"do_sample": True, "top_k": 0, "logits_processor": [{"_target_": f"{METHODS}.TopNSigma", "n": 1.5}]},
        {"do_sample": True, "top_k": 0, "logits_processor": [TopNSigma(1.5)]},
    ),
    "DoLa-like": (
        {"custom_generate": {"_target_": f"{METHODS}.early_layer", "layer": 2, "alpha": 0.2}},
        {"custom_generate": own_early_layer},
    ),
}


@pytest.mark.parametrize("method", ARGUMENTS)
@pytest.mark.parametrize("architecture", EVERY_RUN)
def test_the_texts_are_those_of_calling_transformers_directly(method: str, architecture: str, tiny: Tiny) -> None:
    lm, (told, direct) = tiny(architecture), ARGUMENTS[method]
    own = build_model(architecture)  # the same weights, with transformers' own attention
    own.set_attn_implementation("eager")
    banned = list(banned_tokens(Ban.special, own, lm.tokenizer))
    expected = []
    for prompt in PROMPTS:
        torch.manual_seed(seed_of(3, str(prompt), 0))
        ids = torch.tensor([prompt])
        given = {"attention_mask": torch.ones_like(ids), "max_new_tokens": NEW, "suppress_tokens": banned}
        expected.append(own.generate(ids, **given, **direct)[0, len(prompt) :].tolist())
    found = decoded(lm, by(told, seed=3))
    assert [list(one.token_ids) for one in found] == expected
    alike = len({tuple(ids) for ids in expected}) == 1
    assert not alike or (architecture, method) == ("opt", "beam"), (
        "a model that says one thing would pass whatever is done"
    )


def test_a_text_has_random_numbers_of_its_own(tiny: Tiny) -> None:
    """The same whatever was made before it, another for another sample or seed; the caller's numbers go on."""
    lm, drawn = tiny("llama"), {"do_sample": True, "top_k": 0, "temperature": 1.5}
    torch.manual_seed(7)
    whole = decoded(lm, by(drawn))
    after = torch.rand(2)
    torch.manual_seed(7)
    assert torch.equal(torch.rand(2), after)
    (alone,), _ = decode_batch(lm, [Lane(PROMPTS[2], by(drawn), str(PROMPTS[2]))], 4)
    assert alone == replace(whole[2], score=alone.score, logprob_expert=alone.logprob_expert)
    assert decoded(lm, by(drawn), sample=1)[0].token_ids != whole[0].token_ids
    assert decoded(lm, by(drawn, seed=1))[0].token_ids != whole[0].token_ids


def test_texts_may_end_and_each_token_has_its_time(tiny: Tiny) -> None:
    lm = tiny("gpt2")
    gained: list[int] = []
    how = by({"do_sample": True, "top_k": 0, "temperature": 3.0}, Ban.none)
    lanes = [Lane(PROMPTS[0], how, "a prompt", sample) for sample in range(40)]
    found = [decode_batch(lm, [lane], 4, gained.append) for lane in lanes]
    ended = [text for (text,), _ in found if text.ended]
    assert ended, "no text ended: more samples"
    assert all(0 not in text.token_ids and len(text.token_ids) < NEW for text in ended)
    for (text,), stats in found:
        assert stats.steps == len(text.token_ids) + text.ended == len(stats.step_seconds)
        assert sum(stats.step_seconds) == pytest.approx(stats.wall_seconds, rel=0.2)
        assert math.isnan(text.score)
    assert sum(gained) == sum(stats.steps for _, stats in found)


REFUSED = {
    "max_new_tokens": ({"max_new_tokens": 5}, r"search\.generate\.max_new_tokens: use search\.max_new_tokens"),
    "code of the hub": ({"trust_remote_code": True}, "code of the hub is never run"),
    "a repository": ({"custom_generate": "transformers-community/dola"}, "of a folder is never run. Give a callable"),
    "misspelt": ({"do_smaple": True}, r"do_smaple: generate has no such argument\. Did you mean 'do_sample'"),
    "not read": ({"temperature": 0.5}, "transformers refuses it: .*only used in sample-based generation modes"),
    "no module": (
        {"logits_processor": [{"_target_": "no_such_module.Processor"}]},
        r"logits_processor\[0\]\._target_=no_such_module\.Processor cannot be imported: ModuleNotFoundError",
    ),
    "no such class": ({"logits_processor": [{"_target_": f"{METHODS}.TopNSig"}]}, "cannot be imported: AttributeError"),
    "no dotted path": ({"logits_processor": [{"_target_": "Processor"}]}, "cannot be imported: ImportError"),
    "no object": ({"logits_processor": [3]}, "holds 3: expected objects"),
    "its arguments": ({"logits_processor": [{"_target_": f"{METHODS}.TopNSigma", "m": 2}]}, "raises TypeError: .*'m'"),
    "of the callable": (
        {"custom_generate": {"_target_": f"{METHODS}.TopNSigma", "m": 1}},
        r"custom_generate: .*TopNSigma: got an unexpected keyword argument 'm'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_passed_on_is_named(case: str) -> None:
    given, message = REFUSED[case]
    config = SearchConfig(SearchKind.hf, beams=1, generate=given)
    with pytest.raises(ConfigError, match=message):
        check_arguments(config)


def fails(*_given: object, **_more: object) -> torch.Tensor:
    raise KeyError("broken")


def other_prompt(_model: object, input_ids: torch.Tensor, **_more: object) -> torch.Tensor:
    return input_ids + 1


def too_long(_model: object, input_ids: torch.Tensor, **_more: object) -> torch.Tensor:
    return torch.cat([input_ids] * 9, dim=-1)


def in_words(*_given: object, **_more: object) -> str:
    return "a text"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (fails, "generate raised KeyError: 'broken'"),
        (other_prompt, "do not begin with the prompt's"),
        (too_long, "returned 40 new tokens: expected at most 8"),
        (in_words, "returned str: expected token ids"),
    ],
)
def test_a_callable_that_makes_no_continuation_is_named(code: Callable[..., object], message: str, tiny: Tiny) -> None:
    how = by({"custom_generate": {"_target_": f"{__name__}.{code.__name__}"}})
    with pytest.raises(ModelError, match=message):
        decoded(tiny("llama"), how)
