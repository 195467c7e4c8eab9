"""The expert with damaged weights, against a whole model whose weights are damaged by loops."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from cdeval.config.amateur import Amateur
from cdeval.cost.price import PricedArm, PricedText, price_arms
from cdeval.models.loading import LanguageModel
from cdeval.models.noise import rounded, with_noise
from cdeval.models.packing import can_pack, pack
from tests.decode.amateurs.naive import check_texts, last_logits, settings_of
from tests.decode.oracles import setting

FOUR_BITS = Amateur("noise", settings=(("bits", 4), ("dropout", 0.0)))


def by_hand(lm: LanguageModel, bits: int) -> LanguageModel:
    """A copy of the whole model, each row of each matrix of its blocks rounded by itself."""
    model = copy.deepcopy(lm.model)
    for name, module in model.named_modules():
        inside = any(part in name.split(".") for part in ("layers", "h"))
        if not inside or not isinstance(module, nn.Linear | Conv1D):
            continue
        rows = module.weight.data if isinstance(module, nn.Linear) else module.weight.data.T
        for row in rows:
            step = float(row.abs().max()) / (2 ** (bits - 1) - 1)
            row.copy_(torch.tensor([round(value / step) * step for value in row.tolist()]))
    return replace(lm, model=model)


def test_a_text_is_the_naive_one(any_tiny: LanguageModel) -> None:
    before = [weight.clone() for weight in any_tiny.model.parameters()]
    whole = by_hand(any_tiny, 4)
    check_texts(
        any_tiny,
        with_noise(any_tiny, 4, 0.0, 0),
        lambda prompt: lambda text: last_logits(whole, prompt + text),
        *settings_of(FOUR_BITS),
    )
    assert all(map(torch.equal, before, any_tiny.model.parameters())), "the expert was changed"


def test_rounded_by_hand() -> None:
    """Three bits: seven values, from minus to plus the largest of the row; a row of zeros stays."""
    weight = torch.tensor([[3.0, -1.4, 0.4, -0.6], [0.0, 0.0, 0.0, 0.0]])
    assert rounded(weight, 3).tolist() == [[3.0, -1.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]]
    assert rounded(weight, 2).tolist()[0] == [3.0, 0.0, 0.0, 0.0]


def test_dropped_weights_are_those_of_the_seed(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("llama")

    def matrix(dropout: float, seed: int) -> torch.Tensor:
        found: torch.Tensor = with_noise(lm, None, dropout, seed).parts.blocks[1].mlp.up_proj.weight
        return found

    plain, once, again, other = matrix(0.0, 1), matrix(0.25, 1), matrix(0.25, 1), matrix(0.25, 2)
    assert torch.equal(plain, lm.parts.blocks[1].mlp.up_proj.weight)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert float((once == 0).float().mean()) == pytest.approx(0.25, abs=0.05)
    torch.testing.assert_close(once[once != 0], (plain / 0.75)[once != 0])


def test_its_matrices_are_its_own_and_nothing_else(tiny: Callable[[str], LanguageModel]) -> None:
    """The FLOPs of the whole expert once more; the weights of the blocks' matrices, norms and biases twice."""
    lm = tiny("gpt2")
    blocks = sum(weight.numel() for weight in lm.parts.blocks.parameters())
    how = setting(amateur=FOUR_BITS, max_new_tokens=9)
    arms = {
        "noise": PricedArm(how, [PricedText(5, 9)]),
        "alone": PricedArm(setting(max_new_tokens=9), [PricedText(5, 9)]),
    }
    found = price_arms(lm, arms, amateur_models={FOUR_BITS: with_noise(lm, 4, 0.0, 0)})
    assert found["noise"]["parameters"] == lm.model.num_parameters() + blocks
    assert found["noise"]["weights_bytes"] == 4 * found["noise"]["parameters"]
    assert found["noise"]["amateur_flops"] == found["alone"]["total_flops"]


def test_packed_weights_are_refused_and_packed_copies_are_the_amateurs(tiny: Callable[[str], LanguageModel]) -> None:
    """A copy of a packed module would multiply by the expert's own weights, and be no amateur."""
    lm = tiny("llama")
    if not can_pack(lm.model):
        pytest.skip("torch has no operators to pack by")
    plain, laid_out = (with_noise(lm, 4, 0.0, 0, packed=packed) for packed in (False, True))
    rows = torch.randn(3, 32)
    products = [one.parts.blocks[1].mlp.up_proj(rows) for one in (plain, laid_out)]
    torch.testing.assert_close(*products)
    own = copy.deepcopy(lm.model)
    pack(own)
    packed = replace(lm, model=own, parts=replace(lm.parts, base=own.model, blocks=own.model.layers))
    with pytest.raises(ValueError, match="are packed"):
        with_noise(packed, 4, 0.0, 0)
