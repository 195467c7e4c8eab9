"""The expert under another prompt, against full re-computation and against the published formulas."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Context, Form, PromptSource, SearchKind
from cdeval.config.plausibility import Plausibility
from cdeval.config.schema import PromptsConfig
from cdeval.config.setting import Setting
from cdeval.cost.price import PricedArm, PricedText, price_arms
from cdeval.decode.amateurs.own_prompt import OwnPrompt
from cdeval.decode.batches import plan_batches
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.errors import ConfigError, PromptError
from cdeval.models.loading import LanguageModel
from cdeval.prompts.load import load_prompts
from cdeval.prompts.tokens import TextCodec
from cdeval.records import Prompt
from tests.decode.amateurs.naive import PROMPTS, last_logits, naive_text, settings_of
from tests.decode.oracles import setting

ALONE = [(8, 77), (61, 20), (36, 37)]  # what is left of the prompts without a context
NEGATIVE = "The quick"
ALL = Plausibility("all")


def other(context: Context) -> Amateur:
    return Amateur("context", context=context, negative=NEGATIVE if context is Context.negative else None)


def lanes(*settings: Setting) -> list[Lane]:
    pairs = zip(PROMPTS, ALONE, strict=True)
    return [Lane(prompt, how, f"p{i}", 0, rest) for i, (prompt, rest) in enumerate(pairs) for how in settings]


def read_of(lane: Lane, lm: LanguageModel) -> tuple[int, ...]:
    """What the amateur reads of the prompt, in words of the definition."""
    return {
        Context.generated: lane.prompt[-1:],
        Context.empty: (0,),  # the tokenizer's BOS, which is also its end
        Context.negative: tuple(lm.tokenizer(NEGATIVE)["input_ids"]),
        Context.removed: lane.without_context or (),
    }[lane.setting.amateur.context]


@pytest.mark.parametrize("context", [one for one in Context if one is not Context.full])
def test_a_text_is_the_naive_one(any_tiny: LanguageModel, context: Context) -> None:
    """Positions count from 0 in the prompt that the amateur reads; beam, greedy and sampling."""
    for how in settings_of(other(context)):
        asked = lanes(how)
        found, _ = decode_batch(any_tiny, asked, 4, amateur_models={how.amateur: any_tiny})
        for lane, one in zip(asked, found, strict=True):
            own = read_of(lane, any_tiny)
            tokens, score = naive_text(any_tiny, lane, lambda text, own=own: last_logits(any_tiny, own + text))
            assert one.token_ids == tokens
            assert one.score == pytest.approx(score, abs=1e-3)


def test_contexts_beside_each_other_do_not_feel_each_other(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("llama")
    amateurs = [other(context) for context in (Context.generated, Context.empty, Context.negative)]
    asked = lanes(*[how for amateur in amateurs for how in settings_of(amateur)[:1]])
    models = dict.fromkeys(amateurs, lm)
    together, _ = decode_batch(lm, asked, 4, amateur_models=models)
    for lane, found in zip(asked, together, strict=True):
        (alone,), _ = decode_batch(lm, [lane], 0, amateur_models=models)
        assert found.token_ids == alone.token_ids
    assert len({found.token_ids for found in together[:3]}) == 3, "the contexts make no difference"


def test_prompts_of_one_length_are_apart_where_they_are_not_without_their_contexts() -> None:
    """What an amateur reads is never padded, and lanes of other contexts share their forward passes as before."""
    removed, generated = (setting(amateur=other(one)) for one in (Context.removed, Context.generated))

    def planned(how: Setting) -> list[list[int]]:
        return plan_batches([Lane((1, 2, 3, 4), how, "p", 0, rest) for rest in ((3, 4), (4,), (2, 4))], 9)

    assert planned(removed) == [[0, 2], [1]]
    assert planned(generated) == [[0, 1, 2]]


ITEMS = [
    {"id": "a", "context": "Researchers said on Monday that", "prompt": " the results were", "reference": " clear."},
    {"id": "b", "context": "A small model writes the point. ", "prompt": "The river"},
]


def with_contexts(folder: Path, tokenizer: PreTrainedTokenizerFast, *more: object) -> tuple[Prompt, ...]:
    path = folder / "items.jsonl"
    path.write_text("\n".join(map(json.dumps, [*ITEMS, *more])), "utf-8")
    return load_prompts(PromptsConfig(PromptSource.file, path=str(path)), tokenizer, 6, 0).prompts


def test_items_with_contexts_are_read_with_and_without_them(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    codec = TextCodec(tokenizer)
    for item, prompt in zip(ITEMS, with_contexts(tmp_path, tokenizer), strict=True):
        assert prompt.text == item["context"] + item["prompt"]
        assert prompt.token_ids == tuple(codec.prompt_ids(prompt.text))
        assert prompt.without_context == tuple(codec.prompt_ids(item["prompt"]))


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@torch.inference_mode()
def test_context_aware_decoding_is_its_published_formula(
    architecture: str, tiny: Callable[[str], LanguageModel], tmp_path: Path
) -> None:
    """Shi et al. 2023, equation 3: the likeliest of softmax((1 + α) logits(c, x) − α logits(x)), raw logits."""
    lm, weight = tiny(architecture), 0.5
    how = setting(
        amateur=other(Context.removed),
        form=Form.amplified,
        beta=weight,
        plausibility=ALL,
        alpha=1.0,
        search=SearchKind.greedy,
        beams=1,
        max_new_tokens=6,
    )
    for prompt in with_contexts(tmp_path, lm.tokenizer):
        (found,), _ = decode_batch(lm, [Lane.from_prompt(prompt, how)], 4, amateur_models={how.amateur: lm})
        whole, alone = list(prompt.token_ids), list(prompt.without_context or ())
        for token in found.token_ids:
            logits = (1 + weight) * last_logits(lm, tuple(whole)) - weight * last_logits(lm, tuple(alone))
            logits[[0, 1, 126, 127]] = -torch.inf  # special tokens, and rows of no token
            assert int(logits.argmax()) == token
            whole.append(token)
            alone.append(token)


@pytest.mark.parametrize("context", [Context.generated, Context.negative])
def test_classifier_free_guidance_is_that_of_transformers(
    context: Context, tiny: Callable[[str], LanguageModel]
) -> None:
    """`generate(guidance_scale=γ)`, whose unconditional prompt is the last token unless a negative one is given."""
    lm, scale = tiny("llama"), 1.7
    negative = torch.tensor([lm.tokenizer(NEGATIVE)["input_ids"]]) if context is Context.negative else None
    how = setting(
        amateur=other(context),
        form=Form.amplified,
        beta=scale - 1,
        plausibility=ALL,
        alpha=1.0,
        search=SearchKind.greedy,
        beams=1,
        max_new_tokens=8,
    )
    for prompt in PROMPTS:
        (found,), _ = decode_batch(lm, [Lane(prompt, how)], 4, amateur_models={how.amateur: lm})
        theirs = lm.model.generate(
            torch.tensor([prompt]),
            guidance_scale=scale,
            negative_prompt_ids=negative,
            suppress_tokens=[0, 1, 126, 127],
            max_new_tokens=8,
            do_sample=False,
        )
        assert found.token_ids == tuple(theirs[0, len(prompt) :].tolist())


def test_another_prompt_is_priced_by_its_own_length(tiny: Callable[[str], LanguageModel]) -> None:
    """The whole expert once more, from the tokens that the amateur reads on; no weights of its own."""
    lm = tiny("llama")
    amateurs = {context: other(context) for context in Context}
    text = PricedText(prompt_tokens=20, tokens=9, without_context=3)
    arms = {
        one.value: PricedArm(setting(amateur=amateur, max_new_tokens=10), [text]) for one, amateur in amateurs.items()
    }
    found = price_arms(lm, arms, amateur_models=dict.fromkeys(amateurs.values(), lm))
    flops = {name: costs["amateur_flops"] for name, costs in found.items()}
    whole = found["full"]
    assert flops["full"] == whole["expert_prefill_flops"] + whole["expert_decode_flops"]
    assert flops["generated"] == flops["empty"] < flops["removed"] < flops["full"]
    as_long = len(lm.tokenizer(NEGATIVE)["input_ids"])
    priced = PricedArm(setting(amateur=other(Context.full), max_new_tokens=10), [PricedText(as_long, 9)])
    alone = price_arms(lm, {"negative": priced}, amateur_models={other(Context.full): lm})["negative"]
    assert flops["negative"] == alone["expert_prefill_flops"] + alone["expert_decode_flops"]
    assert {costs["weights_bytes"] for costs in found.values()} == {whole["weights_bytes"]}


def test_a_prompt_that_cannot_be_read_otherwise_says_so(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match=r"amateur.negative='' yields no tokens"):
        OwnPrompt.from_amateur(replace(other(Context.negative), negative=""), tokenizer)
    removed = OwnPrompt.from_amateur(other(Context.removed), tokenizer)
    with pytest.raises(PromptError, match=r"'b' has none: expected prompts=file with `context`"):
        removed.lengths((Prompt("a", "", (1, 2), None, None, (2,)), Prompt("b", "", (1, 2), None, None)))
