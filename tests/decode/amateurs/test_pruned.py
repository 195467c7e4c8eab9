"""The expert without some blocks, against transformers' own model with fewer blocks in it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Form
from cdeval.cost.counted import count_lane
from cdeval.cost.flops import lane_flops, token_flops
from cdeval.cost.memory import slot_bytes
from cdeval.cost.price import PricedArm, PricedText, price_arms
from cdeval.decode.engine import decode_batch
from cdeval.models.loading import LanguageModel
from cdeval.models.truncate import truncate, without_blocks
from tests.conftest import build_model
from tests.decode.amateurs.naive import (
    AmateurLogits,
    check_texts,
    lanes_of,
    last_logits,
    naive_text,
    settings_of,
    texts,
)
from tests.decode.oracles import setting


def pruned(*left_out: int) -> Amateur:
    return Amateur("pruned", settings=(("left_out", left_out),))


def fewer_blocks(lm: LanguageModel, prompt: tuple[int, ...], *left_out: int) -> AmateurLogits:
    """A forward pass of the whole model in which blocks hand on what they are given."""

    def logits(text: tuple[int, ...]) -> torch.Tensor:
        def undone(_module: object, given: tuple[torch.Tensor, ...], output: object) -> object:
            return (given[0], *output[1:]) if isinstance(output, tuple) else given[0]

        handles = [lm.parts.blocks[number - 1].register_forward_hook(undone) for number in left_out]
        try:
            return last_logits(lm, prompt + text)
        finally:
            for handle in handles:
                handle.remove()

    return logits


@pytest.mark.parametrize("left_out", [(1, 3), (2,)], ids=str)
def test_a_text_is_the_naive_one(any_tiny: LanguageModel, left_out: tuple[int, ...]) -> None:
    """Kinds of attention and rotation belong to a block's place (Gemma 3), and so does its cache."""
    loaded = without_blocks(any_tiny, left_out)
    settings = settings_of(pruned(*left_out))
    check_texts(any_tiny, loaded, lambda prompt: fewer_blocks(any_tiny, prompt, *left_out), *settings)


def test_every_architecture_can_do_without_a_block(every_tiny: LanguageModel) -> None:
    """What a block returns, and what a model reads off its blocks, differs between them."""
    how = settings_of(pruned(2))[0]
    lane = lanes_of(how)[0]
    (found,), _ = decode_batch(every_tiny, [lane], 4, amateur_models={how.amateur: without_blocks(every_tiny, (2,))})
    assert found.token_ids == naive_text(every_tiny, lane, fewer_blocks(every_tiny, lane.prompt, 2))[0]


def test_the_last_blocks_left_out_are_a_truncated_expert(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("llama")
    left = texts(lm, without_blocks(lm, (3, 4)), *settings_of(pruned(3, 4)))
    cut = texts(lm, truncate(lm, 2), *settings_of(Amateur("truncated", 2)))
    assert [one.token_ids for _, one in left] == [one.token_ids for _, one in cut]


def test_nothing_left_out_is_the_expert_itself(any_tiny: LanguageModel) -> None:
    """log p_e - β log p_e: a score is (1 - β) of the expert's, and amplified it is the expert's own."""
    whole = without_blocks(any_tiny, ())
    for form, share in ((Form.difference, 0.4), (Form.amplified, 1.0)):
        beam, greedy, sample = settings_of(pruned(), beta=0.6, temperature=1.0, form=form, alpha=0.2)
        for _, one in texts(any_tiny, whole, beam, greedy, sample):
            assert one.score == pytest.approx(share * one.logprob_expert, abs=1e-3)
        # Beams and the likeliest token rank alike under any share above 0, as by the expert alone.
        for how in (beam, greedy):
            found, alone = (texts(any_tiny, whole, replace(how, beta=beta)) for beta in (0.6, 0.0))
            assert [one.token_ids for _, one in found] == [one.token_ids for _, one in alone]


def test_it_is_priced_by_the_blocks_that_are_left(tiny: Callable[[str], LanguageModel]) -> None:
    """Half of the blocks, and the head once more; none of the weights."""
    lm, amateur = tiny("llama"), pruned(2, 3)
    loaded = without_blocks(lm, (2, 3))
    how = setting(amateur=amateur, max_new_tokens=9)
    assert token_flops(loaded).by_block == tuple(token_flops(lm).by_block[place] for place in (0, 3))
    assert slot_bytes(loaded) == slot_bytes(lm) // 2
    found = price_arms(lm, {"pruned": PricedArm(how, [PricedText(5, 9)])}, amateur_models={amateur: loaded})["pruned"]
    costs = token_flops(lm)
    read = costs.prompt(5) + sum(how.beams * costs.token(5 + step) for step in range(1, 9))
    heads = costs.head * (1 + 8 * how.beams)
    assert found["amateur_flops"] == read / 2 + heads
    assert found["weights_bytes"] == 4 * lm.model.num_parameters()


def test_torch_counts_what_the_formula_says(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("gpt2")
    paper = build_model("gpt2").to("meta")
    paper.config._attn_implementation = "eager"
    base = replace(lm, model=paper, parts=replace(lm.parts, base=paper.transformer, blocks=paper.transformer.h))
    base = replace(base, parts=replace(base.parts, head=paper.lm_head, norm=paper.transformer.ln_f))
    loaded, how = without_blocks(base, (1, 3)), setting(amateur=pruned(1, 3))
    counted = count_lane(base, how, 7, 5, loaded)
    formula = lane_flops(token_flops(base), how, 7, 5, token_flops(loaded))
    assert counted.amateur == formula.amateur


def test_a_model_needs_a_block(tiny: Callable[[str], LanguageModel]) -> None:
    with pytest.raises(ValueError, match="all blocks of tiny gpt2 are left out"):
        without_blocks(tiny("gpt2"), (1, 2, 3, 4))
