"""The engine against Hugging Face's beam search, against naive re-computation, and against itself."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product

import pytest
import torch
from transformers import LogitsProcessorList, PreTrainedTokenizerFast, SuppressTokensLogitsProcessor

from cdeval.config.enums import Ban, Normalizer, SearchKind, TemperatureForm
from cdeval.config.setting import Setting
from cdeval.decode import choosing, engine
from cdeval.decode.batches import decode, plan_batches
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Continuation, Lane
from cdeval.errors import ModelError
from cdeval.models.loading import LanguageModel, language_model
from cdeval.models.vocabulary import banned_tokens
from tests.conftest import build_model
from tests.decode.oracles import early_exit, naive_search, next_scores, setting

Naive = Callable[[tuple[int, ...], Setting], tuple[tuple[int, ...], float]]
PROMPTS = [(5, 17, 40, 8, 77), (90, 3, 3, 61, 20), (33, 34, 35, 36, 37)]


def run(lm: LanguageModel, lanes: Sequence[Lane], max_lanes: int = 64, compact_every: int = 4) -> list[Continuation]:
    found: dict[int, Continuation] = {}
    for batch in decode(lm, lanes, max_lanes=max_lanes, compact_every=compact_every):
        found.update(zip(batch.lanes, batch.continuations, strict=True))
    return [found[i] for i in range(len(lanes))]


@pytest.fixture(scope="module")
def naive(any_tiny: LanguageModel) -> Naive:
    """The naive text of a prompt under a setting, and its score; worked out once for all tests of an architecture."""
    return cache(lambda prompt, how: naive_search(any_tiny, prompt, how))


def hugging_face(lm: LanguageModel, prompt: tuple[int, ...], how: Setting) -> tuple[list[int], float]:
    banned = list(banned_tokens(how.ban, lm.model, lm.tokenizer))
    fixed = {"min_new_tokens": how.max_new_tokens} if how.ban is not Ban.none else {}
    processors = LogitsProcessorList([SuppressTokensLogitsProcessor(banned, device="cpu")] if banned else [])
    ids = torch.tensor([prompt])
    out = lm.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        num_beams=how.beams,
        do_sample=False,
        length_penalty=0.0,
        early_stopping="never",
        max_new_tokens=how.max_new_tokens,
        logits_processor=processors,
        return_dict_in_generate=True,
        output_scores=True,
        pad_token_id=0,
        **fixed,
    )
    score = float(out.sequences_scores[0]) if how.beams > 1 else float("nan")
    return out.sequences[0, len(prompt) :].tolist(), score


@pytest.mark.parametrize("ban", [Ban.special, Ban.eos])
def test_plain_beam_search_is_hugging_faces(any_tiny: LanguageModel, ban: Ban) -> None:
    how = setting(ban=ban, max_new_tokens=20)
    ours = run(any_tiny, [Lane(prompt, how) for prompt in PROMPTS])
    for prompt, continuation in zip(PROMPTS, ours, strict=True):
        tokens, score = hugging_face(any_tiny, prompt, how)
        assert list(continuation.token_ids) == tokens
        assert continuation.score == pytest.approx(score, abs=1e-3)
        assert continuation.logprob_expert == pytest.approx(score, abs=1e-3)


@pytest.mark.parametrize("kind", [SearchKind.beam, SearchKind.greedy])
def test_natural_endings_are_hugging_faces(tokenizer: PreTrainedTokenizerFast, kind: SearchKind) -> None:
    """Random models end rarely: an end token that is often near the top makes texts of many lengths."""
    lengths = set()
    for seed in range(6):
        model = build_model("phi", seed=seed)
        model.lm_head.bias[0] = 2.0
        lm = language_model(model, tokenizer, "ending")
        how = setting(ban=Ban.none, max_new_tokens=16, search=kind, beams=5 if kind is SearchKind.beam else 1)
        ours = run(lm, [Lane(prompt, how) for prompt in PROMPTS])
        for prompt, continuation in zip(PROMPTS, ours, strict=True):
            tokens, score = hugging_face(lm, prompt, how)
            while tokens and tokens[-1] == 0:
                tokens.pop()
            assert list(continuation.token_ids) == tokens
            if kind is SearchKind.beam:
                assert continuation.score == pytest.approx(score, abs=1e-3)
            assert continuation.ended == (len(tokens) < 16)
            lengths.add(len(tokens))
    assert min(lengths) < 16, "no text ended: the test saw nothing"
    assert len(lengths) > 2


@pytest.mark.parametrize("form", list(TemperatureForm))
@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_contrastive_beam_search_is_the_naive_one(
    any_tiny: LanguageModel, naive: Naive, form: TemperatureForm, beta: float
) -> None:
    how = early_exit(2, temperature_form=form, beta=beta)
    ours = run(any_tiny, [Lane(prompt, how) for prompt in PROMPTS])
    for prompt, continuation in zip(PROMPTS, ours, strict=True):
        tokens, score = naive(prompt, how)
        assert continuation.token_ids == tokens
        assert continuation.score == pytest.approx(score, abs=1e-3)


def test_contrastive_greedy_search_is_the_naive_one(any_tiny: LanguageModel, naive: Naive) -> None:
    how = early_exit(3, search=SearchKind.greedy, beams=1)
    ours = run(any_tiny, [Lane(prompt, how) for prompt in PROMPTS])
    assert [c.token_ids for c in ours] == [naive(prompt, how)[0] for prompt in PROMPTS]


@pytest.mark.parametrize("asked", ["at every step", "at the end"])
@pytest.mark.parametrize("alpha", [0.2, 1e-9])
@pytest.mark.parametrize("normalizer", list(Normalizer))
def test_contrast_over_the_candidates_is_the_naive_one(
    any_tiny: LanguageModel,
    naive: Naive,
    alpha: float,
    normalizer: Normalizer,
    asked: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the candidate-only head where the plausible set is narrow, by a wider one where it is crowded, and beside
    lanes without an amateur or with the other normaliser."""
    monkeypatch.setattr(engine, "ASKED_AT_EVERY_STEP", ("cpu",) if asked == "at every step" else ())
    if alpha < 0.1:
        monkeypatch.setattr(choosing, "CANDIDATES", 8)  # the vocabulary is found in several steps
    how = early_exit(2, alpha=alpha, normalizer=Normalizer.candidates)
    beside = [setting(), early_exit(1, normalizer=normalizer)]
    gained: list[int] = []
    lanes = [Lane(prompt, one) for prompt in PROMPTS for one in (how, *beside)]
    ours, _ = decode_batch(any_tiny, lanes, 4, gained.append)
    assert sum(gained) == len(lanes) * how.max_new_tokens
    again = min(gained) < 0
    if asked == "at every step":
        assert not again, "a step that looks further decodes nothing again"
    elif alpha < 0.1:
        assert again == (normalizer is Normalizer.candidates), "with the other one the head is whole"
    for lane, continuation in zip(lanes, ours, strict=True):
        tokens, score = naive(lane.prompt, lane.setting)
        assert continuation.token_ids == tokens
        assert continuation.score == pytest.approx(score, abs=1e-3)


def test_greedy_texts_do_not_depend_on_the_normaliser(any_tiny: LanguageModel) -> None:
    greedy = [
        early_exit(2, alpha=0.05, search=SearchKind.greedy, beams=1, normalizer=normalizer) for normalizer in Normalizer
    ]
    for prompt in PROMPTS:
        full, candidates = (run(any_tiny, [Lane(prompt, how)])[0] for how in greedy)
        assert candidates.token_ids == full.token_ids
        assert candidates.score != full.score


def test_lanes_do_not_feel_each_other(any_tiny: LanguageModel) -> None:
    """Mixed settings, exit layers and amateurs in one pass equal single runs, for any batch size and compaction."""
    settings = [early_exit(1), early_exit(3, alpha=0.01, beta=0.5, temperature=1.0), setting()]
    lanes = [Lane(prompt, how) for prompt in PROMPTS for how in settings]
    single = [run(any_tiny, [lane], compact_every=0)[0] for lane in lanes]
    for max_lanes, compact_every in [(64, 0), (64, 1), (4, 3)]:
        together = run(any_tiny, lanes, max_lanes, compact_every)
        assert [c.token_ids for c in together] == [c.token_ids for c in single]
        assert [c.score for c in together] == pytest.approx([c.score for c in single], abs=1e-3)


def test_exactly_as_many_tokens_as_asked(tiny: Callable[[str], LanguageModel]) -> None:
    for count in (1, 2, 9):
        (continuation,) = run(tiny("gpt2"), [Lane(PROMPTS[0], early_exit(2, max_new_tokens=count))])
        assert len(continuation.token_ids) == count


def test_no_banned_token_is_generated(tiny: Callable[[str], LanguageModel]) -> None:
    """With alpha near 0 everything is plausible, so only the ban keeps special tokens and empty rows out."""
    lm = tiny("llama")
    how = early_exit(1, alpha=1e-30, beta=5.0, max_new_tokens=40)
    tokens = {token for c in run(lm, [Lane(prompt, how) for prompt in PROMPTS]) for token in c.token_ids}
    assert not tokens & set(banned_tokens(Ban.special, lm.model, lm.tokenizer))
    assert {0, 1, 126, 127} <= set(banned_tokens(Ban.special, lm.model, lm.tokenizer))


def test_a_beam_as_wide_as_the_tree_is_brute_force(tokenizer: PreTrainedTokenizerFast) -> None:
    """Four tokens, three steps: 64 beams see every text, so the best of all texts must come out."""
    model = build_model("gpt2", vocab_size=4, eos_token_id=3)
    lm = language_model(model, tokenizer, "four tokens")
    how = early_exit(2, beams=64, max_new_tokens=3, ban=Ban.eos, alpha=0.02)
    (found,) = run(lm, [Lane((1, 2), how)])

    def total(text: tuple[int, ...]) -> float:
        return sum(float(next_scores(lm, (1, 2, *text[:i]), how)[0][token]) for i, token in enumerate(text))

    best = max(product(range(4), repeat=3), key=total)
    assert found.token_ids == best
    assert found.score == pytest.approx(total(best), abs=1e-4)


def test_compaction_keeps_a_lane_near_the_length_of_one_text(tokenizer: PreTrainedTokenizerFast) -> None:
    """Beams of a sharp model, like those of a trained one, soon share their past."""
    model = build_model("phi")
    model.lm_head.weight *= 6.0
    lm = language_model(model, tokenizer, "sharp")
    lane = [Lane(PROMPTS[0], setting(max_new_tokens=64))]
    _, loose = decode_batch(lm, lane, 0, lambda _n: None)
    _, tight = decode_batch(lm, lane, 4, lambda _n: None)
    assert loose.peak_slots == 5 + 5 * 63
    assert tight.peak_slots < loose.peak_slots / 2


def test_batches_share_shapes_and_cover_every_lane_once() -> None:
    lanes = [Lane((1,) * length, setting(beams=beams)) for length in (3, 4, 3, 4) for beams in (5, 2)]
    batches = plan_batches(lanes, 3)
    assert sorted(i for batch in batches for i in batch) == list(range(8))
    assert all(len({lanes[i].shape for i in batch}) == 1 and len(batch) <= 3 for batch in batches)


def test_a_mixed_batch_is_refused(tiny: Callable[[str], LanguageModel]) -> None:
    with pytest.raises(ValueError, match="one shape"):
        decode_batch(tiny("gpt2"), [Lane((1,), setting()), Lane((1, 2), setting())], 4, lambda _n: None)


def test_hooks_are_gone_after_a_failure(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("gpt2")
    hooks = [len(block._forward_hooks) for block in lm.parts.blocks]

    def fail(_tokens: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_batch(lm, [Lane(PROMPTS[0], early_exit(2))], 4, fail)
    assert [len(block._forward_hooks) for block in lm.parts.blocks] == hooks


def test_out_of_memory_halves_the_batch_and_loses_nothing(tiny: Callable[[str], LanguageModel]) -> None:
    """A block that fails as the CPU allocator does, whenever more than two lanes come at once."""
    lm = tiny("gpt2")
    lanes = [Lane(prompt, how) for prompt in PROMPTS * 3 for how in (early_exit(2), setting())]
    expected = run(lm, lanes)

    def fail(_module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].shape[0] > 2 and inputs[0].shape[1] == 5:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    handle = lm.parts.blocks[1].register_forward_pre_hook(fail)
    lines: list[str] = []
    gained: list[int] = []
    try:
        batches = decode(lm, lanes, max_lanes=6, compact_every=4, on_step=gained.append, say=lines.append)
        found = {i: answer for batch in batches for i, answer in zip(batch.lanes, batch.continuations, strict=True)}
    finally:
        handle.remove()
    assert [found[i].token_ids for i in range(len(lanes))] == [answer.token_ids for answer in expected]
    assert sum(gained) == sum(len(answer.token_ids) for answer in expected)
    numbers = [line.rpartition("=")[2] for line in lines]
    assert numbers == ["3", "2"], "what did not fit once is not tried again"


def test_one_lane_that_does_not_fit_is_a_clear_error_and_other_failures_stay_what_they_are(
    tiny: Callable[[str], LanguageModel],
) -> None:
    lm = tiny("gpt2")
    for message, kind in [("can't allocate memory", ModelError), ("a bug", RuntimeError)]:

        def fail(_module: object, _inputs: object, text: str = message) -> None:
            raise RuntimeError(text)

        handle = lm.parts.blocks[1].register_forward_pre_hook(fail)
        try:
            with pytest.raises(kind, match=r"lower search\.beams|a bug"):
                run(lm, [Lane(PROMPTS[0], setting())])
        finally:
            handle.remove()
