"""Contrastive search against its definition, token for token, and what it reads."""

from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerFast

from cdeval.config.enums import Ban, SearchKind
from cdeval.config.setting import Setting
from cdeval.cost.flops import TokenFlops, lane_flops
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.models.loading import LanguageModel, language_model
from tests.conftest import build_model
from tests.decode.oracles import early_exit, naive_contrastive_search, naive_search, next_scores, setting
from tests.decode.test_engine import PROMPTS, run


def searching(penalty: float = 0.6, candidates: int = 5, **changes: object) -> Setting:
    return setting(search=SearchKind.contrastive_search, beams=candidates, penalty=penalty, **changes)


@pytest.mark.parametrize("ban", [Ban.special, Ban.none])
def test_it_is_the_definition(any_tiny: LanguageModel, ban: Ban) -> None:
    """Lanes with unlike α share the pass. A wrong context (no prompt, the candidate itself, a sibling) or a state
    before the norm shows here."""
    settings = [searching(0.6, ban=ban), searching(0.2, ban=ban), searching(0.9, ban=ban)]
    lanes = [Lane(prompt, how) for prompt in PROMPTS for how in settings]
    texts = run(any_tiny, lanes)
    for lane, found in zip(lanes, texts, strict=True):
        tokens, score = naive_contrastive_search(any_tiny, lane.prompt, lane.setting)
        assert found.token_ids == tokens
        assert found.score == pytest.approx(score, abs=1e-3)
    assert len({found.token_ids for found in texts}) > len(PROMPTS), "the penalty makes no difference"


def test_its_log_probability_is_the_experts(tiny: Callable[[str], LanguageModel]) -> None:
    """Of the chosen candidates, not of their siblings or of the likeliest ones."""
    lm, how = tiny("llama"), searching()
    (found,) = run(lm, [Lane(PROMPTS[0], how)])
    text, expected = PROMPTS[0], 0.0
    for token in found.token_ids:
        expected += float(next_scores(lm, text, how)[1][token])
        text = (*text, token)
    assert found.logprob_expert == pytest.approx(expected, abs=1e-3)


def test_without_a_penalty_or_a_choice_it_is_greedy_search(any_tiny: LanguageModel) -> None:
    greedy = setting(search=SearchKind.greedy, beams=1)
    expected = [naive_search(any_tiny, prompt, greedy)[0] for prompt in PROMPTS]
    for how in (searching(0.0), searching(0.6, candidates=1)):
        assert [found.token_ids for found in run(any_tiny, [Lane(prompt, how) for prompt in PROMPTS])] == expected


def test_texts_end_at_a_chosen_end(tokenizer: PreTrainedTokenizerFast) -> None:
    """An end among the candidates that loses does not end the text; the last token can be an end, too."""
    lengths = set()
    for seed in range(4):
        model = build_model("phi", seed=seed)
        model.lm_head.bias[0] = 4.0
        lm = language_model(model, tokenizer, "ending")
        lanes = [Lane(p, searching(0.5, ban=Ban.none, max_new_tokens=n)) for p in PROMPTS for n in (1, 3, 14)]
        for lane, found in zip(lanes, run(lm, lanes), strict=True):
            tokens, score = naive_contrastive_search(lm, lane.prompt, lane.setting)
            assert found.token_ids == tokens
            assert found.score == pytest.approx(score, abs=1e-3)
            assert found.ended == (len(tokens) < lane.setting.max_new_tokens)
            lengths.add(len(tokens))
    assert min(lengths) < 14, "no text ended: the test saw nothing"
    assert len(lengths) > 2


def test_batch_and_compaction_change_nothing(any_tiny: LanguageModel) -> None:
    lanes = [Lane(prompt, searching(penalty, max_new_tokens=20)) for prompt in PROMPTS for penalty in (0.4, 0.7)]
    expected = [found.token_ids for found in run(any_tiny, lanes, 1, compact_every=0)]
    for max_lanes, compact_every in [(64, 0), (64, 1), (4, 3)]:
        assert [found.token_ids for found in run(any_tiny, lanes, max_lanes, compact_every)] == expected


def test_empty_seats_never_win(tokenizer: PreTrainedTokenizerFast) -> None:
    """Five candidates where four tokens are, two of them banned: with α = 1 only the cosine counts."""
    lm = language_model(build_model("gpt2", vocab_size=4, eos_token_id=3), tokenizer, "four tokens")
    both, five = (searching(1.0, candidates, ban=Ban.eos, max_new_tokens=6) for candidates in (2, 5))
    (found,) = run(lm, [Lane((1, 2), five)])
    assert found.token_ids == naive_contrastive_search(lm, (1, 2), both)[0]


def test_it_reads_what_the_formula_counts(tiny: Callable[[str], LanguageModel]) -> None:
    """k rows a token through the blocks, one through the head, and no pass beside."""
    lm, rows, heads = tiny("gpt2"), [], []
    block = lm.parts.blocks[0].register_forward_pre_hook(lambda _m, inputs: rows.append(inputs[0].shape[1]))
    head = lm.parts.head.register_forward_pre_hook(lambda _m, inputs: heads.append(inputs[0].shape[1]))
    try:
        decode_batch(lm, [Lane(PROMPTS[0], searching(candidates=3, max_new_tokens=7))], 4)
    finally:
        block.remove()
        head.remove()
    assert rows == [5] + [3] * 7
    assert heads == [1] * 7
    unit = TokenFlops(blocks=1, attention=0, head=0, head_token=0)
    flops = lane_flops(unit, searching(candidates=3), 5, 7)
    assert flops.expert_prefill + flops.expert_decode == sum(rows)
    assert lane_flops(TokenFlops(0, 0, 1, 0), searching(candidates=3), 5, 7).total == sum(heads)
    by_hand = 3 * ((5 + 1) + (5 + 2)) + (1 + 2 + 3 + 4 + 5)
    assert lane_flops(TokenFlops(0, 1, 0, 0), searching(candidates=3), 5, 2).total == by_hand


def test_the_cache_keeps_one_text_and_the_candidates_since_the_last_compaction(
    tiny: Callable[[str], LanguageModel],
) -> None:
    lane = [Lane(PROMPTS[0], searching(max_new_tokens=60))]
    _, loose = decode_batch(tiny("llama"), lane, 0)
    _, tight = decode_batch(tiny("llama"), lane, 4)
    assert loose.peak_slots == 5 + 5 * 60
    assert tight.peak_slots <= 5 + 60 + 5 * 4


def test_an_amateur_is_refused(tiny: Callable[[str], LanguageModel]) -> None:
    how = early_exit(2, search=SearchKind.contrastive_search)
    with pytest.raises(ValueError, match="no amateur"):
        decode_batch(tiny("gpt2"), [Lane(PROMPTS[0], how)], 4)
