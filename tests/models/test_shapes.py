"""True architectures without their weights."""

import pytest
import torch

from cdeval.config.enums import Dtype, Weights
from cdeval.config.paths import CONF
from cdeval.config.schema import ExpertConfig
from cdeval.errors import ModelError
from cdeval.models import shapes
from cdeval.models.loading import open_model
from cdeval.models.shapes import numbers_tokenizer, parameters, shipped, with_random_weights, without_weights

# As published with the models.
PARAMETERS = {
    "gpt2": 124_439_808,
    "gpt2-xl": 1_557_611_200,
    "opt-125m": 125_239_296,
    "opt-350m": 331_196_416,
    "opt-6.7b": 6_658_473_984,
    "opt-13b": 12_853_473_280,
    "llama-2-7b-hf": 6_738_415_616,
    "llama-2-70b-hf": 68_976_648_192,
    "smollm2-135m": 134_515_008,
}


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_shipped_architectures_have_the_published_number_of_weights(name: str, count: int) -> None:
    config = shipped(f"somebody/{name}")
    assert config is not None
    assert parameters(config) == count


def test_every_shipped_architecture_opens_and_every_preset_expert_has_one() -> None:
    names = {path.stem for path in (CONF / "architecture").glob("*.json")}
    for name in names:
        opened = open_model(ExpertConfig(name, weights=Weights.random, device="cpu"))
        assert len(opened.tokenizer) == opened.config.vocab_size
    experts = {path.stem for path in (CONF / "expert").glob("*.yaml")} - {"hub", "smollm2", "gemma3"}
    assert {name.removesuffix("-hf") for name in names} >= experts


def test_a_model_on_paper_leaves_the_loaded_one_as_it_is() -> None:
    """Kills: the running expert turned to eager attention, and to another dtype, by pricing its architecture."""
    config = shipped("gpt2")
    assert config is not None
    loaded = with_random_weights(config, torch.bfloat16, torch.device("cpu"), "gpt2")
    before = (loaded.config._attn_implementation, loaded.config.dtype)
    without_weights(loaded.config, torch.float32)
    assert parameters(loaded.config) == PARAMETERS["gpt2"]
    assert (loaded.config._attn_implementation, loaded.config.dtype) == before


def test_random_weights_are_numbers_that_a_processor_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: an untied head, empty memory as weights, norms near 0 whose products are too small for fast arithmetic."""
    monkeypatch.setattr(shapes, "_POOL", 1021)
    config = shipped("gpt2")
    assert config is not None
    config.n_layer, config.n_embd, config.vocab_size = 2, 48, 500
    first, again = (with_random_weights(config, torch.float32, torch.device("cpu"), "gpt2") for _ in range(2))
    assert first.lm_head.weight.data_ptr() == first.transformer.wte.weight.data_ptr()
    assert torch.equal(first.lm_head.weight, again.lm_head.weight)
    assert first.transformer.h[1].mlp.c_fc.weight.std() == pytest.approx(0.02, rel=0.1)
    assert first.transformer.ln_f.weight.eq(1).all()
    assert first.transformer.ln_f.bias.eq(0).all()
    logits = first(torch.arange(9)[None]).logits
    assert logits.isfinite().all()
    assert logits.std() > 0.01


def test_what_does_not_fit_is_refused_before_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_free_bytes", lambda _device: 10**9)
    opened = open_model(ExpertConfig("facebook/opt-13b", dtype=Dtype.bfloat16, weights=Weights.random, device="cpu"))
    with pytest.raises(
        ModelError, match=r"opt-13b with random weights needs 25\.7 GB.*1\.0 GB are free.*cdeval\.price"
    ):
        opened.load()


def test_a_tokenizer_of_numbers_ends_where_the_architecture_does() -> None:
    config = shipped("opt-125m")
    assert config is not None
    tokenizer = numbers_tokenizer(config)
    assert (tokenizer.decode([17]), tokenizer.eos_token_id) == ("17", 2)
