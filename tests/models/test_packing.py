"""Packed weights give the same products, and nothing else changes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.config.enums import Dtype
from cdeval.config.schema import ExpertConfig
from cdeval.cost.flops import token_flops
from cdeval.cost.memory import weights_bytes
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.models import packing
from cdeval.models.loading import language_model, open_model
from cdeval.models.packing import can_pack, pack
from tests.conftest import build_model, each_night
from tests.decode.oracles import early_exit

IDS = torch.randint(2, 120, (3, 16), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("architecture", each_night())
@pytest.mark.parametrize(("dtype", "near"), [(torch.bfloat16, 0.05), (torch.float32, 1e-5)], ids=["bf16", "f32"])
def test_packed_logits_are_the_plain_ones(
    architecture: str, dtype: torch.dtype, near: float, tokenizer: PreTrainedTokenizerFast
) -> None:
    plain, packed = (build_model(architecture).to(dtype) for _ in range(2))
    if not can_pack(packed):
        pytest.skip("no oneDNN operators in torch, or a processor without bfloat16")
    before = language_model(packed, tokenizer, "tiny")
    counted = (weights_bytes(before), token_flops(before), packed.num_parameters())
    after = language_model(plain, tokenizer, "tiny")
    assert after.fingerprint == before.fingerprint
    pack(packed)
    assert (weights_bytes(before), token_flops(before), packed.num_parameters()) == counted
    assert packed.device.type == "cpu"
    with torch.inference_mode():
        torch.testing.assert_close(packed(IDS).logits, plain(IDS).logits, rtol=near, atol=2 * near)
    lane = Lane(tuple(IDS[0].tolist()), early_exit(2))
    (answer,), _ = decode_batch(before, [lane], 4, lambda _tokens: None)
    assert len(answer.token_ids) == 12


def test_what_cannot_be_packed_or_should_not_be_stays_as_it_is(tiny_gpt2_folder: Path) -> None:
    """Gradients and many rows need the plain layout, and other devices have none of these operators."""
    assert not can_pack(build_model("llama").to("meta"))
    assert not can_pack(build_model("llama").to(torch.float16))
    opened = open_model(ExpertConfig(name=str(tiny_gpt2_folder), dtype=Dtype.float32))
    assert all(weight.device.type == "cpu" for weight in opened.load(packed=False).model.parameters())
    assert any(weight.device.type == "meta" for weight in opened.load().model.parameters())


def test_matrices_that_read_the_same_rows_are_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of the Llama family starts four products instead of seven."""
    started: list[int] = []
    original = packing._product

    def counted(weight: torch.Tensor, bias: torch.Tensor | None) -> Callable[[torch.Tensor], torch.Tensor]:
        product = original(weight, bias)

        def noted(rows: torch.Tensor) -> torch.Tensor:
            started.append(len(weight))
            return product(rows)

        return noted

    monkeypatch.setattr(packing, "_product", counted)
    model = build_model("llama")
    if not can_pack(model):
        pytest.skip("no oneDNN operators in torch")
    attention, mlp = model.model.layers[0].self_attn, model.model.layers[0].mlp
    widths = [
        sum(one.out_features for one in (attention.q_proj, attention.k_proj, attention.v_proj)),
        attention.o_proj.out_features,
        2 * mlp.up_proj.out_features,
        mlp.down_proj.out_features,
    ]
    pack(model)
    with torch.inference_mode():
        model.model(IDS)
    assert started == widths * model.config.num_hidden_layers


@pytest.mark.parametrize("order", ["q k v", "v k q", "q q k", "k", "q k", "v v v"])
def test_a_shared_product_may_be_asked_in_any_order(order: str) -> None:
    """Whoever brings rows of their own, or comes twice, has what the plain matrix gives."""
    plain, packed = (build_model("qwen2").model.layers[0].self_attn for _ in range(2))
    if not packing.packs(torch.device("cpu"), torch.float32):
        pytest.skip("no oneDNN operators in torch")
    packing.pack_modules(packed)
    draws = torch.Generator().manual_seed(1)
    shared = torch.randn(2, 3, plain.q_proj.in_features, generator=draws)
    for rows in (shared, shared.clone(), shared):
        for letter in order.split():
            name = f"{letter}_proj"
            with torch.inference_mode():
                torch.testing.assert_close(getattr(packed, name)(rows), getattr(plain, name)(rows))
                other = rows + 1
                torch.testing.assert_close(getattr(packed, name)(other), getattr(plain, name)(other))
