"""What rows that have exited early skip, by what is multiplied; that texts stay the same is held by `test_adaptive`."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cdeval.config.enums import SearchKind
from cdeval.config.exits import ConfidenceMeasure
from cdeval.config.setting import AdaptiveExit, Setting
from cdeval.decode import skipping
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Continuation, Lane
from cdeval.models.loading import LanguageModel
from tests.decode.oracles import early_exit, setting

NEW = 6
GREEDY = setting(search=SearchKind.greedy, beams=1, max_new_tokens=NEW)


def leaving(threshold: float, how: Setting = GREEDY, layers: tuple[int, ...] = (2,)) -> Setting:
    """Saturation costs no product, so that what is counted is what blocks and the last head multiply."""
    return replace(how, adaptive_exit=AdaptiveExit(ConfidenceMeasure.saturation, threshold, 1.0, layers))


def lanes_of(count: int, *settings: Setting) -> list[Lane]:
    return [Lane((5 + i, 17, 40, 8, 77 - i), how, f"p{i}") for i in range(count) for how in settings]


def multiplied(lm: LanguageModel, lanes: list[Lane]) -> tuple[int, list[Continuation]]:
    with FlopCounterMode(display=False) as counter:
        found, _ = decode_batch(lm, lanes, 0)
    return counter.get_total_flops(), found


def test_a_block_that_nobody_needs_makes_keys_and_values_alone(any_tiny: LanguageModel) -> None:
    """Every row of the second token on leaves after block 2 of 4: of the others their first products are made."""
    whole, _ = multiplied(any_tiny, lanes_of(1, GREEDY))
    early, (found,) = multiplied(any_tiny, lanes_of(1, leaving(0.0)))
    assert set(found.exit_layers) == {2}
    spared = [module for block in list(any_tiny.parts.blocks)[2:] for module in block.modules()]
    matrices = sum(module.weight.numel() for module in spared if hasattr(module, "weight") and module.weight.ndim == 2)
    assert 0.5 * matrices < (whole - early) / (2 * (NEW - 1)) < 1.1 * matrices


def test_rows_of_a_batch_that_have_exited_are_not_multiplied(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of sixteen lanes leave; the others' texts are those that they write alone."""
    lm = tiny("llama")
    lanes = lanes_of(8, leaving(0.0), leaving(1.0))
    some, found = multiplied(lm, lanes)
    monkeypatch.setattr(skipping, "LEAST_ROWS", 1000)
    every, same = multiplied(lm, lanes)
    assert some < every
    assert found == same
    assert {layer for one in found[::2] for layer in one.exit_layers} == {2}
    assert {layer for one in found[1::2] for layer in one.exit_layers} == {4}


@pytest.mark.parametrize("beams", [1, 3])
def test_a_contrast_below_the_exit_is_the_same_with_rows_left_out(
    tiny: Callable[[str], LanguageModel], beams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = SearchKind.beam if beams > 1 else SearchKind.greedy
    how = early_exit(1, search=kind, beams=beams, max_new_tokens=NEW)
    lanes = lanes_of(10, leaving(0.9, how, (2, 3)), how)
    found, _ = decode_batch(tiny("gpt2"), lanes, 2)
    assert {layer for one in found[::2] for layer in one.exit_layers} > {4}, "some leave and some go on"
    monkeypatch.setattr(skipping, "LEAST_ROWS", 1000)
    for one, other in zip(found, decode_batch(tiny("gpt2"), lanes, 2)[0], strict=True):
        assert (one.token_ids, one.exit_layers) == (other.token_ids, other.exit_layers)


def test_the_blocks_are_as_they_were_afterwards(tiny: Callable[[str], LanguageModel]) -> None:
    """Also where one raises: packed matrices have a product of their own, which is put back."""
    lm = tiny("llama")
    own = {id(module): vars(module).get("forward") for module in lm.model.modules()}
    decode_batch(lm, lanes_of(1, leaving(0.0)), 0)
    with pytest.raises(RuntimeError, match="a fault"), skipping.Skipping(list(lm.parts.blocks)).hooked():
        raise RuntimeError("a fault")
    assert {id(module): vars(module).get("forward") for module in lm.model.modules()} == own
    assert torch.is_inference_mode_enabled() is False
