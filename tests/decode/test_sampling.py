"""Sampling in the engine: exact probabilities, the naive text, and the same text in any company."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy import stats
from transformers import PreTrainedTokenizerFast

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Normalizer
from cdeval.config.setting import Setting
from cdeval.decode import choosing, engine
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import BatchStats, Lane
from cdeval.decode.warping import warp, warping
from cdeval.models.loading import LanguageModel, language_model
from cdeval.models.truncate import truncate
from tests.conftest import build_model
from tests.decode.oracles import early_exit, naive_sample, next_scores, sampled, setting
from tests.decode.test_engine import PROMPTS, run

CONTRASTED = sampled(early_exit(2, alpha=0.02), temperature=1.3)
OVER_CANDIDATES = sampled(early_exit(2, alpha=0.2, normalizer=Normalizer.candidates))
ALL = [
    sampled(),
    sampled(top_k=20, temperature=0.8),
    sampled(top_p=0.9),
    sampled(typical_p=0.8),
    sampled(min_p=0.05, temperature=2.0),
    sampled(eta=0.02),
    CONTRASTED,
    sampled(early_exit(3, alpha=0.01), top_p=0.7),
]


@pytest.mark.long
@pytest.mark.parametrize(
    "how",
    [sampled(), CONTRASTED, sampled(top_p=0.8, temperature=1.2), OVER_CANDIDATES],
    ids=["plain", "contrastive", "nucleus", "candidates"],
)
def test_draws_have_the_exact_probabilities(
    how: Setting, tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 000 samples of one token; a token that cannot come must not come once."""
    monkeypatch.setattr(choosing, "LANES_AT_ONCE", 1000)
    lm, draws = tiny("llama"), 20_000
    one = replace(how, max_new_tokens=1)
    lanes = [Lane(PROMPTS[0], one, "a prompt", sample) for sample in range(draws)]
    seen = Counter(found.token_ids[0] for found in run(lm, lanes, max_lanes=1000))
    scores, _ = next_scores(lm, PROMPTS[0], one)
    exact = warp(scores[None, None], warping([one.sampling], scores.device))[0, 0].double().softmax(-1)
    assert all(float(exact[token]) > 0 for token in seen)
    frequent = [token for token in range(len(exact)) if float(exact[token]) * draws >= 5]
    rest = max(1 - float(exact[frequent].sum()), 0.0)
    observed = [seen[token] for token in frequent] + [sum(n for token, n in seen.items() if token not in frequent)]
    expected = [float(exact[token]) * draws for token in frequent] + [rest * draws]
    if rest * draws < 1:
        observed, expected = observed[:-1], [value * sum(observed[:-1]) / sum(expected[:-1]) for value in expected[:-1]]
    assert len(observed) > 3, "too sharp a distribution to test anything"
    assert stats.chisquare(observed, expected).pvalue > 0.001


@pytest.mark.parametrize("ban", [Ban.special, Ban.none])
def test_a_sampled_text_is_the_naive_one(any_tiny: LanguageModel, ban: Ban) -> None:
    """All settings in one pass, the candidate-only head among them, against full re-computation of each alone."""
    for settings in ([*ALL, OVER_CANDIDATES], [OVER_CANDIDATES]):
        lanes = [
            Lane(prompt, replace(how, ban=ban, max_new_tokens=8), f"p{i}", i)
            for i, prompt in enumerate(PROMPTS)
            for how in settings
        ]
        for lane, found in zip(lanes, run(any_tiny, lanes), strict=True):
            tokens, score, ended = naive_sample(any_tiny, lane)
            assert found.token_ids == tokens
            assert found.score == pytest.approx(score, abs=1e-3)
            assert found.ended == ended
            if not lane.setting.amateur.contrasts:
                assert found.logprob_expert == pytest.approx(score, abs=1e-3)


def test_a_text_ends_at_its_first_end(tokenizer: PreTrainedTokenizerFast) -> None:
    """An end token that is often drawn; what the lane goes on with in the batch must not show."""
    model = build_model("phi")
    model.lm_head.bias[0] = 3.0
    lm = language_model(model, tokenizer, "ending")
    how = [sampled(setting(ban=Ban.none, max_new_tokens=16), top_p=0.95), sampled(early_exit(2, ban=Ban.none))]
    lanes = [Lane(prompt, one, f"p{i}", sample) for one in how for i, prompt in enumerate(PROMPTS) for sample in (0, 1)]
    lengths = set()
    for lane, found in zip(lanes, run(lm, lanes), strict=True):
        tokens, score, ended = naive_sample(lm, lane)
        assert (found.token_ids, found.ended) == (tokens, ended)
        assert found.score == pytest.approx(score, abs=1e-3)
        assert 0 not in found.token_ids
        lengths.add(len(tokens) if ended else None)
    assert len(lengths) > 3, "too few endings to see anything"


@pytest.mark.long
@pytest.mark.parametrize(
    "architecture", ["gpt2", *(pytest.param(one, marks=pytest.mark.nightly) for one in ("opt", "llama"))]
)
def test_texts_do_not_depend_on_the_batch(architecture: str, tiny: Callable[[str], LanguageModel]) -> None:
    """Batches of 1, 8 and 64, shuffled, and the second half alone, as a resumed run decodes it."""
    lm, rng = tiny(architecture), random.Random(0)
    prompts = [tuple(rng.randrange(2, 120) for _ in range(5)) for _ in range(5)]
    lanes = [Lane(prompt, how, f"p{i}", s) for i, prompt in enumerate(prompts) for how in ALL for s in (0, 1)]
    expected = [found.token_ids for found in run(lm, lanes, max_lanes=64)]
    for max_lanes in (1, 8):
        assert [found.token_ids for found in run(lm, lanes, max_lanes)] == expected
    order = rng.sample(range(len(lanes)), len(lanes))
    shuffled = run(lm, [lanes[i] for i in order], 8, compact_every=1)
    assert [found.token_ids for found in shuffled] == [expected[i] for i in order]
    half = len(lanes) // 2
    assert [found.token_ids for found in run(lm, lanes[half:])] == expected[half:]


def test_seed_prompt_and_sample_tell_texts_apart(tiny: Callable[[str], LanguageModel]) -> None:
    lanes = [
        Lane(PROMPTS[0], sampled(seed=seed, samples=2), name, sample)
        for seed in (0, 1)
        for name in ("a", "b")
        for sample in (0, 1)
    ]
    assert len({found.token_ids for found in run(tiny("gpt2"), lanes)}) == len(lanes)


def test_a_lane_without_amateur_draws_from_the_whole_vocabulary(tiny: Callable[[str], LanguageModel]) -> None:
    """Beside lanes whose candidate-only head sees 64 of the 128 tokens."""
    lm, flat = tiny("gpt2"), sampled(temperature=30.0)
    lanes = [Lane(prompt, flat, f"p{i}") for i, prompt in enumerate(PROMPTS)]
    beside = [Lane(prompt, OVER_CANDIDATES) for prompt in PROMPTS]
    together = run(lm, [*lanes, *beside])[: len(lanes)]
    assert [found.token_ids for found in together] == [naive_sample(lm, lane)[0] for lane in lanes]
    unlikely = 0
    for lane, found in zip(lanes, together, strict=True):
        _, log_expert = next_scores(lm, lane.prompt, flat)
        unlikely += found.token_ids[0] not in log_expert.topk(64).indices.tolist()
    assert unlikely, "every first token is among the likeliest 64: the test saw nothing"


@pytest.mark.parametrize("asked", ["at every step", "at the end"])
def test_a_crowded_set_is_drawn_from_with_the_same_numbers(
    tiny: Callable[[str], LanguageModel], asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With alpha near 0 more tokens are plausible than the candidate-only head looks at: it looks further, or the
    batch is decoded again."""
    monkeypatch.setattr(engine, "ASKED_AT_EVERY_STEP", ("cpu",) if asked == "at every step" else ())
    how = sampled(early_exit(2, alpha=1e-9, normalizer=Normalizer.candidates), temperature=3.0)
    gained: list[int] = []
    lane = Lane(PROMPTS[0], how, "p")
    attempts: list[BatchStats] = []
    through = engine._Run.through

    def noted(run: engine._Run, *rest: Any) -> BatchStats:
        attempts.append(through(run, *rest))
        return attempts[-1]

    monkeypatch.setattr(engine._Run, "through", noted)
    (found,), stats = decode_batch(tiny("gpt2"), [lane], 4, gained.append)
    assert found.token_ids == naive_sample(tiny("gpt2"), lane)[0]
    assert stats.wall_seconds == sum(one.wall_seconds for one in attempts), "the text took both attempts"
    assert sum(stats.step_seconds) == pytest.approx(sum(sum(one.step_seconds) for one in attempts))
    assert (min(gained) < 0) == (asked == "at the end"), "it was not crowded, or was decoded twice for nothing"
    assert sum(gained) == how.max_new_tokens


def test_the_candidate_only_head_looks_no_further_than_it_must(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most plausible sets fit into 8 tokens, all into 32: a head that stays as wide as it once was saves nothing."""
    lm, seen = tiny("gpt2"), []
    monkeypatch.setattr(choosing, "CANDIDATES", 8)
    whole = type(lm.parts).logits_of

    def watched(parts: object, finished: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        seen.append(tokens.shape[-1])
        return whole(parts, finished, tokens)

    monkeypatch.setattr(type(lm.parts), "logits_of", watched)
    how = sampled(early_exit(2, alpha=0.2, normalizer=Normalizer.candidates))
    lanes = [Lane(prompt, how, f"p{i}") for i, prompt in enumerate(PROMPTS)]
    found = [decode_batch(lm, [lane], 4)[0][0].token_ids for lane in lanes]
    assert found == [naive_sample(lm, lane)[0] for lane in lanes]
    assert set(seen) == {8, 32}
    assert seen.count(8) > seen.count(32)
    assert len(seen) == len(lanes) * how.max_new_tokens, "the head is asked once a step, when the width is known"


def test_other_amateurs_are_sampled_from_too(tiny: Callable[[str], LanguageModel]) -> None:
    """The truncated expert writes the early exit's samples: same numbers, same logits."""
    lm, amateur = tiny("llama"), Amateur("truncated", 2)
    exits = run(lm, [Lane(prompt, CONTRASTED, f"p{i}") for i, prompt in enumerate(PROMPTS)])
    how = sampled(early_exit(2, alpha=0.02, amateur=amateur), temperature=1.3)
    lanes = [Lane(prompt, how, f"p{i}") for i, prompt in enumerate(PROMPTS)]
    own, _ = decode_batch(lm, lanes, 4, amateur_models={amateur: truncate(lm, 2)})
    assert [found.token_ids for found in own] == [found.token_ids for found in exits]


def test_bfloat16_weights_are_drawn_from_in_float32(tokenizer: PreTrainedTokenizerFast) -> None:
    lm = language_model(build_model("llama").to(torch.bfloat16), tokenizer, "bfloat16")
    (found,) = run(lm, [Lane(PROMPTS[0], sampled(top_p=0.9), "p")])
    assert len(found.token_ids) == 12
