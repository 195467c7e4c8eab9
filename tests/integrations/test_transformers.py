"""The callable for `generate`: what it returns, what it takes from GenerationConfig, and what it refuses."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    MaxTimeCriteria,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    StoppingCriteriaList,
    TextStreamer,
    TopPLogitsWarper,
)
from transformers.generation import GenerateBeamDecoderOnlyOutput, GenerateDecoderOnlyOutput

from cdeval.api import Contrast, Search, decode
from cdeval.config.amateur import Amateur
from cdeval.config.exits import Lens
from cdeval.errors import CdevalError
from cdeval.integrations import opened
from cdeval.integrations.transformers import contrastive_generate
from cdeval.models.lens import Translator, TunedLens, to_bytes, tuned_lens
from cdeval.models.loading import LanguageModel, language_model
from cdeval.study import decode_call
from tests.conftest import EVERY_RUN, build_model, build_tokenizer

NEW = 8
TEXTS = ["The quick brown fox", "Researchers said on Monday that the", "A small"]
Tiny = Callable[[str], LanguageModel]
Generate = Callable[..., Any]


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    found = build_model("llama")
    found.set_attn_implementation("sdpa")
    return found


@pytest.fixture(scope="module")
def padded() -> PreTrainedTokenizerFast:
    tokenizer = build_tokenizer()
    tokenizer.pad_token = "<|marker|>"  # noqa: S105 - token 1
    return tokenizer


@pytest.fixture(scope="module")
def inputs(padded: PreTrainedTokenizerFast) -> dict[str, torch.Tensor]:
    return dict(padded(TEXTS, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False))


@pytest.fixture
def generate(model: PreTrainedModel, padded: PreTrainedTokenizerFast, inputs: dict[str, torch.Tensor]) -> Generate:
    def call(**given: Any) -> Any:
        usual = {"tokenizer": padded, "amateur": 2, "lens": "norm", "max_new_tokens": NEW}
        return model.generate(**{**inputs, "custom_generate": contrastive_generate, **usual, **given})

    return call


def of_engine(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, **given: Any) -> list[list[int]]:
    found = decode(language_model(model, tokenizer, "llama"), TEXTS, **{"amateur": 2, "lens": "norm", **given})
    return [list(one.token_ids) for one in found]


@pytest.mark.parametrize("search", ["beam", "greedy", "sample"])
@pytest.mark.parametrize("architecture", EVERY_RUN)
def test_the_texts_are_the_engines(architecture: str, search: str, padded: PreTrainedTokenizerFast) -> None:
    """Prompts of unequal length, padded on the left, by a model with transformers' own attention."""
    mine = build_model(architecture)
    mine.set_attn_implementation("eager")
    kind = {"beam": {"num_beams": 3}, "greedy": {}, "sample": {"do_sample": True, "top_k": 9, "seed": 4}}[search]
    how = {"beam": {"beams": 3}, "greedy": {}, "sample": {"top_k": 9}}[search]
    found = mine.generate(
        **tokens_of(padded),
        custom_generate=contrastive_generate,
        tokenizer=padded,
        amateur=2,
        lens="norm",
        max_new_tokens=NEW,
        min_new_tokens=NEW,
        **kind,
    )
    expected = of_engine(mine, padded, search=Search(search, max_new_tokens=NEW, ban="eos", **how), seed=4)
    assert found[:, -NEW:].tolist() == expected


def test_texts_that_end_have_their_end_token_and_padding(
    generate: Generate, model: PreTrainedModel, padded: PreTrainedTokenizerFast, inputs: dict[str, torch.Tensor]
) -> None:
    """Which token ends a text is GenerationConfig's to say; of several, it is the one that was said."""
    free = of_engine(model, padded, search=Search("greedy", max_new_tokens=NEW, ban="free"))
    ends = [free[0][3], free[1][5]]
    found = generate(eos_token_id=ends, pad_token_id=1)
    before = inputs["input_ids"]
    assert torch.equal(found[:, : before.shape[1]], before), "the prompts stay as they were given, padding and all"
    for row, text in zip(found[:, before.shape[1] :].tolist(), free, strict=True):
        length = next((place + 1 for place, token in enumerate(text) if token in ends), NEW)
        assert row == text[:length] + [1] * (len(row) - length)
    assert any(set(text) & set(ends) for text in free)


@pytest.mark.parametrize("ban", ["special", None])
def test_lengths_may_be_fixed(
    ban: str | None, generate: Generate, model: PreTrainedModel, padded: PreTrainedTokenizerFast
) -> None:
    ends = 7 if ban is None else 0  # a token that is said otherwise
    given = {"eos_token_id": ends} | ({"min_new_tokens": NEW} if ban is None else {"ban": ban})
    found = generate(**given)[:, -NEW:].tolist()
    assert not any(ends in row for row in found)
    if ban is not None:
        assert found == of_engine(model, padded, search=Search("greedy", max_new_tokens=NEW))


def test_the_output_is_that_of_the_search(generate: Generate) -> None:
    beams = generate(num_beams=3, min_new_tokens=NEW, return_dict_in_generate=True)
    assert isinstance(beams, GenerateBeamDecoderOnlyOutput)
    assert beams.sequences_scores.shape == (3,)
    plain = generate(num_beams=3, min_new_tokens=NEW)
    assert torch.equal(beams.sequences, plain)
    assert isinstance(generate(return_dict_in_generate=True), GenerateDecoderOnlyOutput)


def test_draws_follow_torchs_seed_or_their_own(generate: Generate) -> None:
    drawn = partial(generate, do_sample=True, temperature=3.0, num_return_sequences=2)
    torch.manual_seed(1)
    first, second = drawn(), drawn()
    torch.manual_seed(1)
    assert torch.equal(drawn(), first)
    assert not torch.equal(first, second)
    assert first.shape[0] == 2 * len(TEXTS)
    assert torch.equal(drawn(seed=5), drawn(seed=5))
    names = ["a", "b", "c"]
    assert torch.equal(drawn(seed=5, prompt_ids=[f"prompt-{i}" for i in range(3)]), drawn(seed=5))
    assert not torch.equal(drawn(seed=5, prompt_ids=names), drawn(seed=5))
    before = torch.get_rng_state()
    generate()
    assert torch.equal(torch.get_rng_state(), before), "greedy search draws nothing"


def test_another_model_a_kind_and_a_contrast_of_ones_own(
    generate: Generate, model: PreTrainedModel, padded: PreTrainedTokenizerFast
) -> None:
    greedy = Search("greedy", max_new_tokens=NEW, ban="none")
    other = build_model("gpt2", seed=5)
    small = language_model(other, padded, "small")
    for given in (other, small):
        assert generate(amateur=given)[:, -NEW:].tolist() == of_engine(model, padded, amateur=small, search=greedy)
    settings = {"amateur.layer": 2}
    found = generate(amateur="truncated", settings=settings)[:, -NEW:].tolist()
    assert found == of_engine(model, padded, amateur="truncated", settings=settings, search=greedy)
    contrast = Contrast(plausibility="top_k", top_k=3, temperature=2.0)
    assert generate(contrast=contrast)[:, -NEW:].tolist() == of_engine(model, padded, contrast=contrast, search=greedy)
    plain = build_model("llama").generate(**tokens_of(padded), max_new_tokens=NEW)
    assert torch.equal(generate(amateur=None), plain), "the expert alone is what transformers says"


def tokens_of(tokenizer: PreTrainedTokenizerFast) -> dict[str, torch.Tensor]:
    return dict(tokenizer(TEXTS, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False))


def test_a_lens_is_fitted_once_and_anew_when_weights_change(
    generate: Generate, padded: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    mine = build_model("llama")
    translators = {2: Translator(0.1 * torch.eye(32), torch.zeros(32))}
    fitted: list[str] = []

    def fit(expert: LanguageModel, amateur: Amateur, _prompts: object) -> dict[Amateur, TunedLens]:
        if amateur.lens is not Lens.linear:
            return {}
        fitted.append(expert.fingerprint)
        return {amateur: tuned_lens(translators, {"fingerprint": expert.fingerprint})}

    monkeypatch.setattr(decode_call, "fitted_lens", fit)
    given = {"custom_generate": contrastive_generate, "amateur": 2, "max_new_tokens": NEW}
    call = partial(mine.generate, **tokens_of(padded), **given)
    first = call(tokenizer=padded)
    assert torch.equal(call(tokenizer=padded), first)
    assert len(fitted) == 1
    file = tmp_path / "lens.safetensors"
    file.write_bytes(to_bytes(tuned_lens(translators, {"fingerprint": fitted[0], "expert": "llama"})))
    assert torch.equal(call(tokenizer=padded, lens=file), first), "as a tuned lens of the same translators"
    with torch.no_grad():
        mine.model.layers[0].mlp.up_proj.weight.mul_(2)
    call(tokenizer=padded)
    assert len(set(fitted)) == 2
    with pytest.raises(CdevalError, match="the lens was trained for"):
        call(tokenizer=padded, lens=file)


def test_a_tokenizer_that_does_not_arrive_is_asked_for(generate: Generate, padded: PreTrainedTokenizerFast) -> None:
    bound = partial(contrastive_generate, tokenizer=padded)
    assert torch.equal(generate(custom_generate=bound, tokenizer=None), generate())
    with pytest.raises(CdevalError, match=r"needs the model's tokenizer: model\.generate\(…, tokenizer=tokenizer\)"):
        generate(tokenizer=None)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "repetition_penalty": ({"repetition_penalty": 1.2}, "repetition_penalty=1.2: contrastive_generate does not give"),
    "scores": ({"output_scores": True, "return_dict_in_generate": True}, "output_scores=True: .*cdeval.trace"),
    "top_h": ({"do_sample": True, "top_h": 0.4}, r"top_h=0\.4: .*plausibility='top_h'"),
    "no cache": ({"use_cache": False}, "use_cache=False: the engine has a cache of its own"),
    "suppressed": ({"suppress_tokens": [5]}, r"suppress_tokens=\[5\]: contrastive_generate does not give that"),
    "beams drawn": ({"num_beams": 2, "do_sample": True}, "num_beams=2 with do_sample=True"),
    "several beams": ({"num_beams": 3, "num_return_sequences": 2}, "num_return_sequences=2: there is one best text"),
    "length penalty": ({"num_beams": 2, "length_penalty": 2.0}, "length_penalty=2.0: beams are ranked by the sum"),
    "least length": ({"min_new_tokens": 3}, "min_new_tokens=3 with max_new_tokens=8"),
    "processor": (
        {"logits_processor": LogitsProcessorList([TopPLogitsWarper(0.5)])},
        "logits_processor: TopPLogitsWarper would not be applied",
    ),
    "criterion": (
        {"stopping_criteria": StoppingCriteriaList([MaxTimeCriteria(60.0)])},
        "stopping_criteria: MaxTimeCriteria would not be asked",
    ),
    "right padding": (
        {"input_ids": torch.tensor([[5, 6, 1], [5, 6, 7]]), "attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])},
        "attention_mask hides tokens inside or at the end of prompt 0",
    ),
    "positions": ({"position_ids": torch.zeros(3, 13, dtype=torch.long)}, "position_ids: a prompt's tokens have"),
    "both contrasts": ({"contrast": Contrast(alpha=0.1), "beta": 0.5}, r"contrast=Contrast\(…\) stands in place of"),
    "alpha": ({"alpha": 0.0}, "contrast.alpha"),
    "nothing to contrast": ({"amateur": None, "beta": 0.5}, "contrast.beta=0.5 is not read"),
    "ban": ({"ban": "nothing"}, "ban=nothing: expected one of special, eos, none, free"),
    "names": ({"prompt_ids": ["a"]}, "expected a list of 3 texts, one a prompt"),
    "a layer too far": ({"amateur": 4}, "L=4"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_given_is_refused(what: str, generate: Generate) -> None:
    given, message = REFUSED[what]
    with pytest.raises(CdevalError, match=message):
        generate(**given)


def test_arguments_that_transformers_would_lose_are_refused(
    generate: Generate, padded: PreTrainedTokenizerFast, model: PreTrainedModel
) -> None:
    with pytest.raises(CdevalError, match="assistant_model: contrastive_generate does not give that"):
        generate(assistant_model=model)
    with pytest.raises(CdevalError, match="streamer: contrastive_generate does not give that"):
        generate(**{"input_ids": torch.tensor([[5, 6]]), "attention_mask": None}, streamer=TextStreamer(padded))
    assert opened.dropped_arguments() == {}, "outside of generate nothing is read"


def test_beams_that_may_end_say_how_they_are_ranked(generate: Generate) -> None:
    with pytest.warns(UserWarning, match=r"ranked by the sum of their scores, as by length_penalty=0\.0"):
        generate(num_beams=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generate(num_beams=2, length_penalty=0.0)
        generate(num_beams=2, min_new_tokens=NEW)


def test_the_models_own_settings_count(padded: PreTrainedTokenizerFast) -> None:
    mine = build_model("llama")
    mine.generation_config = GenerationConfig(eos_token_id=0, repetition_penalty=1.1)
    given = {"custom_generate": contrastive_generate, "tokenizer": padded, "amateur": 2, "lens": "norm"}
    call = partial(mine.generate, **tokens_of(padded), max_new_tokens=NEW, **given)
    with pytest.raises(CdevalError, match=r"repetition_penalty=1\.1"):
        call()
    assert call(repetition_penalty=1.0).shape[0] == len(TEXTS)
