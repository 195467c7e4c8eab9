"""Lane attention against Hugging Face's eager one, under masks that no causal pattern explains."""

from collections.abc import Callable

import pytest
import torch

from cdeval.models.attention import LANE_ATTENTION, lanes_attend, mask_rows
from cdeval.models.loading import LanguageModel


@torch.inference_mode()
def test_any_mask_gives_what_eager_attention_gives(every_tiny: LanguageModel) -> None:
    """Two lanes, three beams at one position, each seeing a random part of the slots."""
    model = every_tiny.model
    torch.manual_seed(0)
    ids = torch.randint(2, 120, (2, 3))
    visible = (torch.rand(2, 1, 3, 3) < 0.5) | torch.eye(3, dtype=torch.bool)
    mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
    positions = torch.full((2, 3), 7)

    def logits(rows: int = 1) -> torch.Tensor:
        repeated = mask.repeat(1, 1, rows, 1)
        found = model(input_ids=ids, attention_mask=repeated, position_ids=positions, use_cache=False).logits
        assert isinstance(found, torch.Tensor)
        return found

    ours = logits()
    torch.testing.assert_close(ours, logits(mask_rows(model.config)), rtol=1e-6, atol=1e-6)
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        torch.testing.assert_close(ours, logits(), rtol=1e-4, atol=1e-4)
    finally:
        model.set_attn_implementation(attention)


def test_grouped_models_are_loaded_with_it(tiny: Callable[[str], LanguageModel]) -> None:
    assert tiny("llama").model.config._attn_implementation == LANE_ATTENTION
    assert tiny("gemma2").model.config._attn_implementation == "eager"
    rows = {name: mask_rows(tiny(name).model.config) for name in ("llama", "gemma2", "gpt2")}
    assert rows == {"llama": 2, "gemma2": 1, "gpt2": 1}


@torch.inference_mode()
def test_keys_are_not_copied_a_query_head(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The point of it: with a mask, the fused attention still gets as many key heads as the cache holds."""
    seen = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def watch(query: torch.Tensor, key: torch.Tensor, *rest: object, **options: object) -> torch.Tensor:
        seen.append(key.shape[1])
        return fused(query, key, *rest, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watch)
    mask = torch.zeros(1, 1, 3, 3)
    tiny("llama").model(torch.tensor([[3, 4, 5]]), attention_mask=mask, position_ids=torch.zeros(1, 3).long())
    assert seen == [2] * 4


@pytest.mark.parametrize("before", [True, False])
def test_attention_is_kept_off_cudnn_while_lanes_decode(before: bool, tiny: Callable[[str], LanguageModel]) -> None:
    """And is as it was afterwards, also after an exception: the switch is everybody's in this process."""
    cuda, seen = torch.backends.cuda, []

    def fail() -> None:
        with lanes_attend([tiny("llama").model]):
            seen.append(cuda.cudnn_sdp_enabled())
            raise MemoryError

    usual = cuda.cudnn_sdp_enabled()
    cuda.enable_cudnn_sdp(before)
    try:
        with pytest.raises(MemoryError):
            fail()
        seen.append(cuda.cudnn_sdp_enabled())
    finally:
        cuda.enable_cudnn_sdp(usual)
    assert seen == [False, before]
