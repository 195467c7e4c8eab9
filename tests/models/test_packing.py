"""Packed weights give the same products, and nothing else changes."""

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
