"""The formula against torch's own counter on eager attention, and against the published reality check."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache

from cdeval.config.enums import Normalizer, SearchKind
from cdeval.config.exits import ConfidenceMeasure, Lens, Selection
from cdeval.config.setting import AdaptiveExit, Setting
from cdeval.cost.flops import TokenFlops, head_width, lane_flops, token_flops
from cdeval.models.loading import LanguageModel
from tests.decode.oracles import chosen_exit, early_exit, sampled, setting


@torch.inference_mode()
def count(lm: LanguageModel, ids: torch.Tensor, cache: DynamicCache) -> int:
    attention = lm.model.config._attn_implementation
    lm.model.set_attn_implementation("eager")  # torch counts 0 for fused attention on the CPU
    try:
        with FlopCounterMode(display=False) as counter:
            lm.model(ids, past_key_values=cache)
    finally:
        lm.model.set_attn_implementation(attention)
    return counter.get_total_flops()


def test_a_decode_step_costs_what_torch_counts(every_tiny: LanguageModel) -> None:
    costs = token_flops(every_tiny)
    cache = DynamicCache(config=every_tiny.model.config)
    count(every_tiny, torch.arange(20)[None] + 2, cache)
    counted = count(every_tiny, torch.tensor([[7]]), cache)
    # Rotary embeddings multiply positions by frequencies as a matrix product: the counter's only other item.
    assert costs.token(21) + costs.head == pytest.approx(counted, rel=0.01)


def test_a_prompt_costs_what_torch_counts_but_for_the_future(every_tiny: LanguageModel) -> None:
    costs, tokens = token_flops(every_tiny), 16
    counted = count(every_tiny, torch.arange(tokens)[None] + 2, DynamicCache(config=every_tiny.model.config))
    future = costs.attention * (tokens * (tokens - 1) // 2)  # torch charges every pair, a causal model half of them
    assert costs.prompt(tokens) + future + tokens * costs.head == pytest.approx(counted, rel=0.01)


def test_gpt2_xl_and_opt_13b_cost_what_the_field_computed() -> None:
    """32 + 256 tokens, 5 beams: an exit head adds 4.6 % to GPT-2 XL and 1.8 % to OPT-13B where every beam prefills."""
    for width, ffn, depth, vocab, expected in [(1600, 6400, 48, 50257, 0.046), (5120, 20480, 40, 50272, 0.018)]:
        costs = TokenFlops(
            blocks=2 * depth * (4 * width**2 + 2 * width * ffn),
            attention=4 * depth * width,
            head=2 * width * vocab,
            head_token=2 * width,
        )
        flops = lane_flops(costs, early_exit(depth - 2, max_new_tokens=256), 32, 256)
        every_beam_prefills = 5 * flops.expert_prefill + flops.expert_decode
        assert flops.amateur / every_beam_prefills == pytest.approx(expected, abs=0.0005)
        assert flops.overhead > flops.amateur / every_beam_prefills


def test_a_lane_sums_its_steps(tiny: Callable[[str], LanguageModel]) -> None:
    costs = TokenFlops(blocks=1000, attention=10, head=100, head_token=1)
    flops = lane_flops(costs, early_exit(1, beams=2), prompt_tokens=3, new_tokens=3)
    assert flops.expert_prefill == 3 * 1000 + 10 * (1 + 2 + 3) + 100
    assert flops.expert_decode == 2 * (1000 + 40 + 100) + 2 * (1000 + 50 + 100)
    assert flops.amateur == (1 + 2 + 2) * 100
    assert lane_flops(costs, setting(beams=2), 3, 3).amateur == 0
    candidates = early_exit(1, beams=2, normalizer=Normalizer.candidates)
    assert lane_flops(costs, candidates, 3, 3).amateur == (1 + 2 + 2) * 64
    assert flops.per_token == flops.total / 3
    greedy = early_exit(1, beams=1, search=SearchKind.greedy)
    assert lane_flops(costs, sampled(early_exit(1), top_p=0.9), 3, 3) == lane_flops(costs, greedy, 3, 3)


def test_lenses_and_choices_cost_what_they_multiply(tiny: Callable[[str], LanguageModel]) -> None:
    """A row of the head for each candidate whose logits are compared, a translator for each layer that is read."""
    costs = TokenFlops(blocks=1000, attention=10, head=100, head_token=1, translator=7)
    tokens = 1 + 2 + 2
    choices = {"softmax": ConfidenceMeasure.softmax, "saturation": ConfidenceMeasure.saturation}
    amateurs = {
        name: chosen_exit((1, 2, 3), selection=Selection.confidence, measure=measure, threshold=0.5)
        for name, measure in choices.items()
    }
    amateurs["jsd"] = chosen_exit((1, 2, 3), selection=Selection.jsd)
    rows = {"softmax": 3, "saturation": 1, "jsd": 3}
    for name, amateur in amateurs.items():
        for lens, translators in [(Lens.norm, 0), (Lens.raw, 0), (Lens.tuned, 3 * 7)]:
            how = setting(amateur=replace(amateur, lens=lens), beams=2)
            assert lane_flops(costs, how, 3, 3).amateur == tokens * (rows[name] * 100 + translators)
    over = {name: setting(amateur=amateurs[name], beams=2, normalizer=Normalizer.candidates) for name in amateurs}
    assert lane_flops(costs, over["saturation"], 3, 3).amateur == tokens * 64
    assert lane_flops(costs, over["jsd"], 3, 3).amateur == tokens * 300, "whole distributions are compared"
    fixed = setting(amateur=replace(early_exit(1).amateur, lens=Lens.tuned), beams=2)
    assert lane_flops(costs, fixed, 3, 3).amateur == tokens * 107
    assert token_flops(tiny("opt_projected")).translator == 2 * 32 * 32


def exiting(measure: ConfidenceMeasure, **changes: object) -> Setting:
    own = AdaptiveExit(measure, 0.5, 4.0, (1, 3))
    return setting(**{"adaptive_exit": own, "search": SearchKind.greedy, "beams": 1, **changes})


def test_early_exits_of_the_expert_cost_what_was_not_skipped() -> None:
    """By hand: 4 blocks of 100 + 10 a slot each, keys and values 20 of the 100; rows at contexts 4 and 5."""
    costs = TokenFlops(blocks=400, attention=40, head=1000, head_token=1, by_block=(100,) * 4, key_value=20, cosine=6)
    prompt = 3 * 400 + 40 * 6 + 1000
    first = 100 + 10 * 4 + 3 * 20  # exits after block 1
    second = 3 * (100 + 10 * 5) + 20  # exits after block 3
    found = lane_flops(costs, exiting(ConfidenceMeasure.softmax), 3, 3, exit_layers=(1, 3))
    assert found.expert_prefill == prompt
    assert found.expert_decode == (first + 1000) + (second + 2 * 1000), "the head after block 1, and after 1 and 3"
    found = lane_flops(costs, exiting(ConfidenceMeasure.saturation), 3, 3, exit_layers=(1, 3))
    assert found.expert_decode == (first + 6 + 1000) + (second + 2 * 6 + 1000)
    full = lane_flops(costs, exiting(ConfidenceMeasure.softmax, adaptive_exit=None), 3, 3)
    assert found.overhead == pytest.approx(found.total / full.total - 1)
    assert found.overhead < 0
    asked = lane_flops(costs, exiting(ConfidenceMeasure.softmax), 3, 3, exit_layers=(4, 4))
    assert asked.total == full.total + 2 * 2 * 1000, "asked twice a token, and never sure"
    assert asked.overhead > 0


def test_a_linear_lens_is_applied_where_it_is_asked_and_where_a_row_exits() -> None:
    """Softmax asks after 1 and 3; saturation asks the states themselves, and translates the one that exits."""
    costs = TokenFlops(blocks=400, attention=40, head=1000, head_token=1, translator=7, by_block=(100,) * 4, cosine=6)
    for measure, lenses in ((ConfidenceMeasure.softmax, 1 + 2 + 2), (ConfidenceMeasure.saturation, 1 + 1 + 0)):
        how = exiting(measure)
        assert how.adaptive_exit is not None
        through = replace(how, adaptive_exit=replace(how.adaptive_exit, linear=True))
        plain, found = (lane_flops(costs, one, 3, 4, exit_layers=(1, 3, 4)) for one in (how, through))
        assert found.total - plain.total == lenses * 7


def test_every_beam_exits_for_itself_and_the_amateur_comes_on_top() -> None:
    costs = TokenFlops(blocks=400, attention=40, head=1000, head_token=1, by_block=(100,) * 4, key_value=20, cosine=6)
    how = early_exit(1, beams=2, adaptive_exit=AdaptiveExit(ConfidenceMeasure.saturation, 0.5, 4.0, (2,)))
    found = lane_flops(costs, how, 3, 3, exit_layers=(2, 4, 4, 2))
    plain = lane_flops(costs, replace(how, adaptive_exit=None), 3, 3)
    assert found.amateur == plain.amateur
    assert plain.total - found.total == 2 * (2 * 100 - 2 * 20) + 2 * 10 * (4 + 5) - 4 * 6
    with pytest.raises(ValueError, match="3 exit layers of 4 rows"):
        lane_flops(costs, how, 3, 3, exit_layers=(2, 4, 4))


def test_skipped_blocks_keep_their_projections_of_keys_and_values(every_tiny: LanguageModel) -> None:
    """Counted on the modules by their names; fused ones hold the queries, too."""
    costs = token_flops(every_tiny)
    block, config = every_tiny.parts.blocks[0], every_tiny.model.config
    named = {name.rpartition(".")[2]: module for name, module in block.named_modules()}
    if "k_proj" in named:
        weights = named["k_proj"].weight.numel() + named["v_proj"].weight.numel()
    else:
        fused = next(named[name] for name in ("c_attn", "query_key_value", "qkv_proj") if name in named)
        weights = fused.weight.numel() - config.hidden_size * config.num_attention_heads * head_width(config)
    assert costs.key_value == 2 * weights
    if getattr(every_tiny.parts.base, "project_in", None) is None:
        assert sum(costs.by_block) == costs.blocks
    assert costs.skipped(4, 10) == 0
    assert 0 < costs.skipped(3, 10) < costs.skipped(2, 10) < costs.token(10)
