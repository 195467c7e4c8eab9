"""Published ways to contrast, against straight transcriptions of what their sources do: loops, no cache, no lanes."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Context, Form, Normalizer, Pool, SearchKind, TemperatureForm
from cdeval.config.setting import Setting
from cdeval.decode.beam import best_of_pool
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.decode.objective import contrast, cut, objective_settings
from cdeval.models.loading import LanguageModel, language_model
from cdeval.models.vocabulary import end_tokens
from tests.conftest import build_model
from tests.decode.oracles import early_exit, next_scores, setting

PROMPTS = [(5, 17, 40, 8, 77), (90, 3, 3, 61, 20), (33, 34, 35, 36, 37)]
EXPERT = torch.tensor([[[0.5, 0.3, 0.15, 0.05]]]).log()
AMATEUR = torch.tensor([[[0.7, 0.1, 0.1, 0.1]]]).log()


def scores(**changes: object) -> list[float]:
    how = early_exit(1, **{"alpha": 0.2, "temperature": 1.0, **changes})
    found: list[float] = contrast(EXPERT.clone(), AMATEUR, objective_settings([how], torch.device("cpu")))[
        0, 0
    ].tolist()
    return found


def test_amplified_by_hand() -> None:
    """(1 + beta) log p_e - beta log p_a: with beta = 0.5, 1.5 log 0.5 - 0.5 log 0.7 and so on."""
    expected = [1.5 * math.log(e) - 0.5 * math.log(a) for e, a in [(0.5, 0.7), (0.3, 0.1), (0.15, 0.1)]]
    assert scores(form=Form.amplified, beta=0.5) == pytest.approx([*expected, -math.inf], abs=1e-5)


def test_redistributed_by_hand() -> None:
    """The three plausible tokens share 0.95 as 0.5/0.7 : 3 : 1.5; the fourth keeps its 0.05."""
    weights = [0.5 / 0.7, 3.0, 1.5]
    expected = [0.95 * weight / sum(weights) for weight in weights]
    found = scores(form=Form.redistributed)
    assert [math.exp(score) for score in found] == pytest.approx([*expected, 0.05], abs=1e-6)


def test_the_expert_cut_to_its_best_tokens_by_hand() -> None:
    """Two of four: 0.5/0.8 and 0.3/0.8; the third would be plausible and is gone."""
    found = scores(expert_top_k=2)
    assert found == pytest.approx([math.log(0.625 / 0.7), math.log(0.375 / 0.1), -math.inf, -math.inf], abs=1e-5)
    uncut = objective_settings([early_exit(1), early_exit(1, expert_top_k=2)], torch.device("cpu")).best
    assert uncut is not None
    assert torch.equal(cut(EXPERT.expand(2, 1, 4), uncut)[0], EXPERT[0]), "a lane without a cut is not re-normalised"


def test_two_tokens_at_least() -> None:
    """At alpha = 0.9 only the first is plausible; but an impossible token is never kept for company."""
    assert [math.isfinite(score) for score in scores(alpha=0.9)] == [True, False, False, False]
    assert [math.isfinite(score) for score in scores(alpha=0.9, min_tokens=2)] == [True, True, False, False]
    alone = torch.tensor([[[0.0, -math.inf, -math.inf]]])
    how = objective_settings([early_exit(1, min_tokens=2)], torch.device("cpu"))
    found = contrast(alone, torch.zeros(1, 1, 3), how)[0, 0]
    assert torch.isfinite(found).tolist() == [True, False, False]
    assert not torch.isnan(found).any()


def test_lanes_of_different_protocols_do_not_feel_each_other() -> None:
    settings = [
        early_exit(1, alpha=0.2),
        early_exit(1, alpha=0.2, form=Form.amplified),
        early_exit(1, alpha=0.2, form=Form.redistributed),
        early_exit(1, alpha=0.2, expert_top_k=2),
        early_exit(1, alpha=0.9, min_tokens=3),
        early_exit(1, alpha=0.2, normalizer=Normalizer.candidates),
    ]
    together = contrast(
        EXPERT.repeat(6, 1, 1), AMATEUR.repeat(6, 1, 1), objective_settings(settings, torch.device("cpu"))
    )
    for lane, how in enumerate(settings):
        alone = contrast(EXPERT.clone(), AMATEUR, objective_settings([how], torch.device("cpu")))
        torch.testing.assert_close(together[lane], alone[0])


def test_the_local_pool_by_hand() -> None:
    """Beam 1 has collected more, and its token 0 would win; but beam 0 has the two locally best tokens."""
    local = torch.tensor([[[-0.1, -0.2, -9.0], [-0.5, -3.0, -4.0]]])
    values = torch.tensor([[[-math.inf, 1.0, 5.0], [3.0, 2.0, 1.0]]])
    totals = torch.tensor([[0.0, 10.0]])
    choice = best_of_pool(values, totals, local, pool=2, count=2)
    assert choice.parent.tolist() == [[0, 0]]
    assert choice.token.tolist() == [[1, 0]]
    assert choice.total.tolist() == [[1.0, -math.inf]]


@torch.inference_mode()
def li2022(
    expert: LanguageModel, amateur: LanguageModel, prompt: tuple[int, ...], how: Setting
) -> tuple[tuple[int, ...], float]:
    """The authors' beam search, point by point, as it is described of their code; one prompt, one beam at a time."""
    ends = end_tokens(expert.model, expert.tokenizer)
    hidden = len(prompt) - 1 if how.amateur.context is Context.generated else 0
    beams: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for step in range(how.max_new_tokens):
        pairs = []
        for text, total in beams:
            ids = (*prompt, *text)
            raw = torch.log_softmax(expert.model(torch.tensor([ids])).logits[0, -1], -1)
            raw[list(ends)] = -math.inf  # before everything else
            top = raw.clone()
            top[raw < raw.topk(50).values[-1]] = -math.inf
            top = top - top.logsumexp(-1)  # re-normalised over the 50
            threshold = min(float(top.max()) + math.log(how.alpha), float(top.topk(2).values[-1]))  # two at least
            weak = torch.log_softmax(amateur.model(torch.tensor([ids[hidden:]])).logits[0, -1], -1) / how.temperature
            for token in range(len(raw)):
                kept = float(top[token]) >= threshold and float(top[token]) > -math.inf
                score = float(top[token]) - how.beta * float(weak[token]) if kept else -math.inf
                pairs.append((float(raw[token]), total + score, (*text, token)))
        if step > 0:
            pairs = sorted(pairs, key=lambda pair: -pair[0])[: 2 * how.beams]  # by the expert, this step alone
        best = sorted(pairs, key=lambda pair: -pair[1])[: how.beams]
        beams = [(text, total) for _, total, text in best]
    return beams[0]


@pytest.mark.parametrize("context", [Context.full, Context.generated])
@pytest.mark.parametrize("architecture", ["gpt2", "opt"])
def test_li2022_is_the_authors_search(
    architecture: str, context: Context, tiny: Callable[[str], LanguageModel], tokenizer: PreTrainedTokenizerFast
) -> None:
    expert = tiny(architecture)
    other = language_model(build_model(architecture, seed=1), tokenizer, "amateur")
    amateur = Amateur("model", name="amateur", context=context)
    how = setting(
        amateur=amateur,
        temperature=0.5,
        temperature_form=TemperatureForm.logprob,
        ban=Ban.eos,
        expert_top_k=50,
        min_tokens=2,
        pool=Pool.local,
    )
    differs = 0
    for prompt in PROMPTS:
        (found,), _ = decode_batch(expert, [Lane(prompt, how)], 4, amateur_models={amateur: other})
        tokens, score = li2022(expert, other, prompt, how)
        assert found.token_ids == tokens
        assert found.score == pytest.approx(score, abs=1e-3)
        (exact,), _ = decode_batch(
            expert, [Lane(prompt, replace(how, pool=Pool.all))], 4, amateur_models={amateur: other}
        )
        differs += exact.token_ids != found.token_ids
    assert differs, "the pool makes no difference here: the test saw nothing of it"


@torch.inference_mode()
def test_redistributed_greedy_search_is_the_naive_one(tiny: Callable[[str], LanguageModel]) -> None:
    """Autocontrastive decoding: a token outside the plausible set can win, with the expert's own probability."""
    lm = tiny("llama")
    how = early_exit(2, form=Form.redistributed, alpha=0.6, temperature=1.0, search=SearchKind.greedy, beams=1)
    for prompt in PROMPTS:
        (found,), _ = decode_batch(lm, [Lane(prompt, how)], 4)
        text = prompt
        for token in found.token_ids:
            output = lm.model(torch.tensor([text]), output_hidden_states=True)
            expert = output.logits[0, -1].softmax(-1)
            early = lm.parts.logits(lm.parts.finish(output.hidden_states[2]))[0, -1].softmax(-1)
            expert[[0, 1, 126, 127]] = 0.0  # special tokens, and rows without a token
            plausible = expert >= 0.6 * expert.max()
            shares = (expert / early)[plausible]
            expert[plausible] = expert[plausible].sum() * shares / shares.sum()
            assert int(expert.argmax()) == token
            text = (*text, token)


def test_free_ends_are_tokens_like_others(tokenizer: PreTrainedTokenizerFast) -> None:
    """The seed experiment neither bans nor heeds the end of text."""
    model = build_model("phi")
    model.lm_head.bias[0] = 3.0
    lm = language_model(model, tokenizer, "ending")
    how = setting(ban=Ban.free, max_new_tokens=12)
    found, _ = decode_batch(lm, [Lane(prompt, how) for prompt in PROMPTS], 4)
    assert all(len(text.token_ids) == 12 and not text.ended for text in found)
    assert any(0 in text.token_ids for text in found), "no end came up: the test saw nothing"


@torch.inference_mode()
def pooled(lm: LanguageModel, prompt: tuple[int, ...], how: Setting) -> tuple[tuple[int, ...], float, bool]:
    """Beam search with natural endings over a pool of 2 · beams pairs by its definition, with lists."""
    ends = set(end_tokens(lm.model, lm.tokenizer))
    beams: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    ended: tuple[tuple[int, ...], float] = ((), -math.inf)
    for step in range(how.max_new_tokens):
        pairs = []
        for text, total in beams:
            scores, log_expert = next_scores(lm, prompt + text, how, step)
            pairs += [
                (local, total + score, (*text, token))
                for token, (local, score) in enumerate(zip(log_expert.tolist(), scores.tolist(), strict=True))
            ]
        if step > 0:
            pairs = sorted(pairs, key=lambda pair: -pair[0])[: 2 * how.beams]
        best = sorted(pairs, key=lambda pair: -pair[1])
        for _, total, text in best[: how.beams]:
            if text[-1] in ends and total > ended[1]:
                ended = text[:-1], total
        beams = [(text, total) for _, total, text in best if text[-1] not in ends][: how.beams]
        if not beams:
            return *ended, True
    living = max(beams, key=lambda beam: beam[1])
    return (*ended, True) if ended[1] >= living[1] else (*living, False)


@pytest.mark.parametrize("compact_every", [0, 2])
@pytest.mark.parametrize("ends", [[0], [0, 5, 9], list(range(0, 120, 2))], ids=["one end", "three", "half of all"])
def test_the_pool_is_two_pairs_a_beam_where_texts_may_end(
    ends: list[int], compact_every: int, tokenizer: PreTrainedTokenizerFast
) -> None:
    """It was 2 · (1 + ends) pairs a beam and more, which is another search."""
    written, differs = set(), 0
    for seed in range(4):
        model = build_model("phi", seed=seed)
        model.lm_head.bias[ends[:3]] = 1.5
        model.generation_config.eos_token_id = ends
        lm = language_model(model, tokenizer, "ending")
        # Small α: which impossible beams fill the first row where few tokens are plausible is nobody's definition.
        for how in (early_exit(2, alpha=1e-6), early_exit(3, alpha=0.01, temperature=1.0)):
            pool = replace(how, ban=Ban.none, pool=Pool.local, beams=3, max_new_tokens=8)
            lanes = [Lane(prompt, one) for prompt in PROMPTS[:2] for one in (pool, replace(pool, pool=Pool.all))]
            found, _ = zip(*(decode_batch(lm, [lane], compact_every) for lane in lanes), strict=True)
            for lane, (answer,) in zip(lanes, found, strict=True):
                if lane.setting.pool is Pool.all:
                    continue
                tokens, score, ended = pooled(lm, lane.prompt, lane.setting)
                assert (answer.token_ids, answer.ended) == (tokens, ended)
                assert answer.score == pytest.approx(score, abs=1e-3)
                written.add(len(tokens))
            differs += sum(
                one[0].token_ids != other[0].token_ids for one, other in zip(found[::2], found[1::2], strict=True)
            )
    assert len(written) > 1, "no text ended: the test saw nothing"
    assert differs, "the pool makes no difference here"
