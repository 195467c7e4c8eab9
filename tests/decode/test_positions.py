"""Every way to rotate, bound or window positions is what transformers' `generate` makes of it, or refused by name."""

from typing import Any

import pytest
from transformers import Phi3Config, PretrainedConfig, PreTrainedTokenizerFast, Qwen2Config

from cdeval.api import Search, decode, load
from cdeval.config.enums import Context
from cdeval.config.schema import AmateurConfig, ExpertConfig, RunConfig, SearchConfig
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.errors import ModelError
from cdeval.models.anatomy import check_length, check_lengths
from cdeval.models.loading import language_model
from cdeval.prompts.load import PromptSet
from cdeval.records import Prompt
from cdeval.study.models import open_models
from tests.conftest import TINY, build_model
from tests.decode.oracles import setting
from tests.decode.test_engine import hugging_face

LIMIT = 24
FACTORS = {"short_factor": [1.0, 1.1, 1.3, 1.5], "long_factor": [2.0, 4.0, 9.0, 20.0]}
LONGROPE: dict[str, Any] = {"rope_type": "longrope", "rope_theta": 100.0, **FACTORS}
LONGROPE["original_max_position_embeddings"] = LIMIT
LONG: dict[str, Any] = {"rope_parameters": LONGROPE, "original_max_position_embeddings": LIMIT}
WAVES = {"factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 100.0}
ROPES: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("llama", {"rope_type": "linear", "factor": 4.0, "rope_theta": 100.0}),
    "yarn": ("qwen3", {"rope_type": "yarn", **WAVES}),
    "llama3": ("llama", {"rope_type": "llama3", **WAVES, "low_freq_factor": 1.0, "high_freq_factor": 4.0}),
    "dynamic": ("llama", {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 100.0}),
    "partial": ("phi3", {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5}),
    "a layer type each": (
        "gemma3_text",
        {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
        },
    ),
}


SMALL: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48}


def prompt(length: int) -> tuple[int, ...]:
    return tuple(2 + (7 * i * i + 3 * i) % 120 for i in range(length))


def assert_as_generate(lm: Any, length: int, new_tokens: int) -> None:
    check_length(lm.model.config, length, new_tokens, lm.name)
    how = setting(max_new_tokens=new_tokens, beams=3)
    (found,), _ = decode_batch(lm, [Lane(prompt(length), how)], 4)
    tokens, score = hugging_face(lm, prompt(length), how)
    assert list(found.token_ids) == tokens
    assert found.score == pytest.approx(score, abs=1e-3)


@pytest.mark.parametrize("name", ROPES)
def test_scaled_positions_are_hugging_faces(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Past the length that was trained on, up to the longest text that there is."""
    architecture, rope = ROPES[name]
    longest = {"max_position_embeddings": 64, "rope_parameters": rope}
    lm = language_model(build_model(architecture, **longest), tokenizer, name)
    assert_as_generate(lm, 50, 14)
    with pytest.raises(ModelError, match="exceed the context"):
        check_length(lm.model.config, 50, 15, name)
    assert_as_generate(lm, 20, 10)  # also after a longer text


def test_longrope_on_either_side_of_its_switch_is_hugging_faces(tokenizer: PreTrainedTokenizerFast) -> None:
    """The last new token is never read, so a text may be one longer; a long prompt has long factors throughout."""
    lm = language_model(build_model("phi3", **LONG), tokenizer, "long")
    for length, new_tokens in [(10, LIMIT - 10), (10, LIMIT - 9), (LIMIT + 1, 12), (LIMIT, 1)]:
        assert_as_generate(lm, length, new_tokens)


def test_longrope_across_its_switch_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    """`generate` reads everything again with other factors there; the cached texts were others, without a word."""
    lm = load(build_model("phi3", **LONG), tokenizer)
    for length, new_tokens in [(10, LIMIT), (LIMIT, 2), (LIMIT - 1, 3)]:
        with pytest.raises(ModelError, match=rf"longer than {LIMIT} tokens .*longrope"):
            check_length(lm.model.config, length, new_tokens, "long")
    with pytest.raises(ModelError, match="grows from 3 to 43 tokens"):
        decode(lm, [Prompt("short", "x", prompt(3), None, None)], search=Search(max_new_tokens=40))
    # Not the longest prompt alone counts: a shorter one beside it crosses.
    with pytest.raises(ModelError, match="grows from 10"):
        check_lengths(lm.model.config, {LIMIT + 5, 10}, 30, "long")


def test_an_amateur_that_reads_less_crosses_by_itself(tokenizer: PreTrainedTokenizerFast, tmp_path: Any) -> None:
    build_model("phi3", **LONG).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    own = AmateurConfig("truncated", layer=2, context=Context.generated)
    config = RunConfig(ExpertConfig(name=str(tmp_path)), own, search=SearchConfig(max_new_tokens=40))
    long = PromptSet((Prompt("a", "x", prompt(LIMIT + 6), None, None),), "here", 1, 0, 0, 1, None, 1, 0)
    with pytest.raises(ModelError, match="grows from 1 to 41 tokens"):
        open_models(config).check(long)


def test_other_ways_to_write_it() -> None:
    """Phi-3's own files call the scaling `rope_scaling` and its type `type`, and have the limit beside it."""
    old = Phi3Config(**SMALL, rope_scaling={"type": "longrope", **FACTORS}, original_max_position_embeddings=LIMIT)
    with pytest.raises(ModelError, match="longrope"):
        check_length(old, 10, 30, "long")
    of_layers = PretrainedConfig()
    of_layers.rope_parameters = {"full_attention": {**LONGROPE}, "sliding_attention": {"rope_type": "default"}}
    with pytest.raises(ModelError, match="longrope"):
        check_length(of_layers, 10, 30, "long")


def test_a_window_that_no_block_has_is_none() -> None:
    """Qwen2's blocks below `max_window_layers` attend to everything; with all of them below, texts may be longer."""
    options = {"use_sliding_window": True, "sliding_window": 16, "num_hidden_layers": 4}
    check_length(Qwen2Config(**options, max_window_layers=4), 30, 10, "qwen")
    with pytest.raises(ModelError, match="sliding window of 16"):
        check_length(Qwen2Config(**options, max_window_layers=3), 30, 10, "qwen")


def test_a_window_as_long_as_the_text_is_hugging_faces(tokenizer: PreTrainedTokenizerFast) -> None:
    for architecture in ("mistral", "gemma2", "gemma3_text", "phi3"):
        lm = language_model(build_model(architecture, sliding_window=30), tokenizer, architecture)
        assert_as_generate(lm, 20, 10)
        with pytest.raises(ModelError, match="sliding window of 30"):
            check_length(lm.model.config, 20, 11, architecture)


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True}),
        ("gpt_neox", {"use_parallel_residual": False}),
        ("llama", {"num_key_value_heads": 1, "head_dim": 16, "attention_bias": True}),
        ("gemma2", {"final_logit_softcapping": None, "attn_logit_softcapping": None}),
        ("gemma2", {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.0}),
        ("gemma3_text", {"final_logit_softcapping": 2.0}),
        ("phi", {"qk_layernorm": True}),
    ],
)
def test_options_of_known_architectures_are_hugging_faces(
    architecture: str, options: dict[str, Any], tokenizer: PreTrainedTokenizerFast
) -> None:
    assert architecture in TINY
    lm = language_model(build_model(architecture, **options), tokenizer, architecture)
    assert_as_generate(lm, 8, 10)
