"""Packed weights give the same products, and nothing else changes."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.config import Dtype, ExpertConfig
from cdeval.cost.flops import token_flops
from cdeval.cost.memory import weights_bytes
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.models.loading import language_model, open_model
from cdeval.models.packing import can_pack, pack
from tests.conftest import TINY, build_model
from tests.decode.oracles import early_exit

IDS = torch.randint(2, 120, (3, 16), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("architecture", sorted(TINY))
def test_packed_logits_are_the_plain_ones(architecture: str, tokenizer: PreTrainedTokenizerFast) -> None:
    plain, packed = (build_model(architecture).to(torch.bfloat16) for _ in range(2))
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
        torch.testing.assert_close(packed(IDS).logits, plain(IDS).logits, rtol=0.05, atol=0.1)
    lane = Lane(tuple(IDS[0].tolist()), early_exit(2))
    (answer,), _ = decode_batch(before, [lane], 4, lambda _tokens: None)
    assert len(answer.token_ids) == 12


def test_only_bfloat16_on_a_cpu_is_packed(tiny_gpt2_folder: Path) -> None:
    """float32 is for exactness: its products keep their order of sums."""
    assert not can_pack(build_model("llama"))
    assert not can_pack(build_model("llama").to(torch.bfloat16).to("meta"))
    exact = open_model(ExpertConfig(name=str(tiny_gpt2_folder), dtype=Dtype.float32)).load()
    assert all(weight.device.type == "cpu" for weight in exact.model.parameters())
    as_it_is = open_model(ExpertConfig(name=str(tiny_gpt2_folder), dtype=Dtype.bfloat16)).load(packed=False)
    assert all(weight.device.type == "cpu" for weight in as_it_is.model.parameters())
