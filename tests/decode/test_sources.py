"""Amateurs with a forward pass of their own, against full re-computation, and beside each other."""

import math
import random
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Context, Normalizer, SearchKind
from cdeval.config.setting import Setting
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.amateurs.ngram import Ngrams
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Continuation, Lane
from cdeval.models.loading import LanguageModel, language_model
from cdeval.models.truncate import truncate
from cdeval.models.vocabulary import banned_tokens
from tests.conftest import VOCAB, build_model
from tests.decode.oracles import best_text, early_exit, setting

PROMPTS = [(5, 17, 40, 8, 77), (90, 3, 3, 61, 20), (33, 34, 35, 36, 37)]


def run(lm: LanguageModel, how: Setting, amateur_models: Mapping[Amateur, AmateurModel]) -> list[Continuation]:
    found, _ = decode_batch(lm, [Lane(prompt, how) for prompt in PROMPTS], 4, amateur_models=amateur_models)
    return found


@pytest.mark.parametrize("kind", [SearchKind.beam, SearchKind.greedy])
def test_truncated_writes_the_early_exits_texts(any_tiny: LanguageModel, kind: SearchKind) -> None:
    """What makes it a price tag: another way to the same logits. A double norm or a wrong block shows here."""
    shape: dict[str, object] = {"search": kind, "beams": 5 if kind is SearchKind.beam else 1, "max_new_tokens": 16}
    exits = run(any_tiny, early_exit(2, **shape), {})
    amateur = Amateur("truncated", 2)
    own = run(any_tiny, early_exit(2, amateur=amateur, **shape), {amateur: truncate(any_tiny, 2)})
    for one, other in zip(exits, own, strict=True):
        assert other.token_ids == one.token_ids
        assert other.score == pytest.approx(one.score, abs=1e-3)


def test_a_truncated_model_leaves_the_expert_whole(any_tiny: LanguageModel) -> None:
    ids = torch.tensor([PROMPTS[0]])
    with torch.inference_mode():
        before = any_tiny.model(ids).logits
        small = truncate(any_tiny, 1)
        assert small.parts.depth == 1
        assert any_tiny.parts.depth == 4
        assert torch.equal(any_tiny.model(ids).logits, before)


@torch.inference_mode()
def naive(
    lm: LanguageModel, other: LanguageModel, prompt: tuple[int, ...], how: Setting
) -> tuple[tuple[int, ...], float]:
    """Two full forward passes a beam and step, no cache; the amateur may not see the prompt but its last token."""
    banned = list(banned_tokens(how.ban, lm.model, lm.tokenizer))
    hidden = len(prompt) - 1 if how.amateur.context is Context.generated else 0

    def scores(text: tuple[int, ...]) -> torch.Tensor:
        ids = (*prompt, *text)
        log_expert = torch.log_softmax(lm.model(torch.tensor([ids])).logits[0, -1], -1)
        log_expert[banned] = -math.inf
        amateur = other.model(torch.tensor([ids[hidden:]])).logits[0, -1]
        contrast = log_expert - how.beta * torch.log_softmax(amateur / how.temperature, -1)
        contrast[log_expert < log_expert.max() + math.log(how.alpha)] = -math.inf
        return contrast

    return best_text(scores, how)


@pytest.mark.parametrize("context", [Context.full, Context.generated])
@pytest.mark.parametrize("architecture", ["gpt2", "opt", "llama"])
def test_a_second_model_is_the_naive_one(
    architecture: str, context: Context, tiny: Callable[[str], LanguageModel], tokenizer: PreTrainedTokenizerFast
) -> None:
    """OPT's offset of positions, GPT-2's learned ones: an ignored prefix starts at position 0."""
    other = language_model(build_model(architecture, seed=1), tokenizer, "amateur")
    amateur = Amateur("model", name="amateur", context=context)
    how = setting(amateur=amateur, temperature=0.5, alpha=0.05)
    for prompt, found in zip(PROMPTS, run(tiny(architecture), how, {amateur: other}), strict=True):
        tokens, score = naive(tiny(architecture), other, prompt, how)
        assert found.token_ids == tokens
        assert found.score == pytest.approx(score, abs=1e-3)


def test_lanes_with_all_kinds_of_amateurs_do_not_feel_each_other(tiny: Callable[[str], LanguageModel]) -> None:
    """Rows of exits, of sources and of lanes without any are picked apart again, whatever their order."""
    lm = tiny("llama")
    truncated = [Amateur("truncated", 1, context=context) for context in (Context.full, Context.generated)]
    ngram = Amateur("ngram", order=2)
    counts = Ngrams([[5, 6, 7, 8, 9, 5, 6, 9], [40, 8, 77, 5]], 2, VOCAB)
    amateur_models: dict[Amateur, AmateurModel] = {**dict.fromkeys(truncated, truncate(lm, 1)), ngram: counts}
    settings = [
        setting(amateur=ngram),
        early_exit(3, normalizer=Normalizer.candidates),
        setting(),
        setting(amateur=truncated[1]),
        early_exit(1),
        setting(amateur=truncated[0], normalizer=Normalizer.candidates),
    ]
    lanes = [Lane(prompt, how) for prompt in PROMPTS for how in settings]
    together, _ = decode_batch(lm, lanes, 3, amateur_models=amateur_models)
    for lane, found in zip(lanes, together, strict=True):
        (alone,), _ = decode_batch(lm, [lane], 0, amateur_models=amateur_models)
        assert found.token_ids == alone.token_ids
        assert found.score == pytest.approx(alone.score, abs=1e-3)
    assert len({found.token_ids for found in together[: len(settings)]}) > 3, "the amateurs make no difference"


def test_an_ignored_prefix_keeps_the_amateurs_cache_shorter(tiny: Callable[[str], LanguageModel]) -> None:
    lm, slots = tiny("llama"), {}
    for context in (Context.full, Context.generated):
        amateur = Amateur("truncated", 2, context=context)
        _, stats = decode_batch(
            lm, [Lane(PROMPTS[0], setting(amateur=amateur))], 0, amateur_models={amateur: truncate(lm, 2)}
        )
        slots[context] = stats.amateur_slots
    assert slots[Context.full] - slots[Context.generated] == len(PROMPTS[0]) - 1


def after(counts: Ngrams, *texts: Sequence[int]) -> torch.Tensor:
    """The log-probabilities of what follows each of some texts of one length."""
    histories = torch.zeros(len(texts), dtype=torch.long)
    for tokens in zip(*texts, strict=True):
        histories = counts.tables.follow(histories, torch.tensor(tokens))
    return counts.tables.log_probs(histories)


def smoothed(texts: list[list[int]], order: int, vocab: int, history: list[int]) -> list[float]:
    """Witten-Bell as its formula says, counted anew: p(x | history) of every token."""
    if not history:
        lengths = sum(map(len, texts))
        return [(sum(text.count(token) for text in texts) + 1) / (lengths + vocab) for token in range(vocab)]
    shorter = smoothed(texts, order, vocab, history[1:])
    if len(history) > order - 1:
        return shorter
    seen = [
        text[place]
        for text in texts
        for place in range(len(history), len(text))
        if text[place - len(history) : place] == history
    ]
    kinds = len(set(seen))
    if not seen:
        return shorter
    return [(seen.count(token) + kinds * shorter[token]) / (len(seen) + kinds) for token in range(vocab)]


def test_ngrams_by_hand() -> None:
    """a b a b b: after a always b (2 of 2), after b once a, once b; Witten-Bell leaves t / (c + t) to unigrams."""
    counts = Ngrams([[0, 1, 0, 1, 1]], 2, 4)
    unigrams = [3 / 9, 4 / 9, 1 / 9, 1 / 9]
    assert after(counts, [])[0].exp().tolist() == pytest.approx(unigrams)
    after_a = [1 / 3 * unigrams[0], 2 / 3 + 1 / 3 * unigrams[1], 1 / 3 * unigrams[2], 1 / 3 * unigrams[3]]
    assert after(counts, [1, 0])[0].exp().tolist() == pytest.approx(after_a)
    assert after(counts, [2])[0].exp().tolist() == pytest.approx(unigrams), "an unseen history says nothing"


@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("lengths", [[60, 1, 9, 0], [1, 1, 1]])
def test_ngrams_are_what_their_formula_says(order: int, lengths: list[int]) -> None:
    """Seen, half seen and unseen histories, of texts that also end: the tables against counting anew."""
    draw = random.Random(order)
    texts = [[draw.randrange(5) for _ in range(length)] for length in lengths]
    counts, others = Ngrams(texts, order, 7), [[draw.randrange(7) for _ in range(9)] for _ in range(40)]
    others += [texts[0][place : place + 9] for place in range(40) if len(texts[0]) >= place + 9]
    expected = torch.tensor([smoothed(texts, order, 7, other) for other in others])
    assert torch.allclose(after(counts, *others).exp(), expected, atol=1e-6)
    assert torch.allclose(expected.sum(-1), torch.ones(len(others)), atol=1e-5)
    assert counts.tokens == sum(lengths)


@torch.inference_mode()
def test_n_grams_contrast_as_their_formula_says(tiny: Callable[[str], LanguageModel]) -> None:
    lm, amateur = tiny("gpt2"), Amateur("ngram", order=3)
    counts = Ngrams([list(range(10, 60)) * 2, [5, 17, 40, 8, 77, 3]], 3, VOCAB)
    how = setting(amateur=amateur, beams=1, search=SearchKind.greedy, max_new_tokens=8)
    banned = list(banned_tokens(how.ban, lm.model, lm.tokenizer))
    for prompt, found in zip(PROMPTS, run(lm, how, {amateur: counts}), strict=True):
        text = list(prompt)
        for token in found.token_ids:
            log_expert = torch.log_softmax(lm.model(torch.tensor([text])).logits[0, -1], -1)
            log_expert[banned] = -math.inf
            scores = log_expert - after(counts, text)[0]
            scores[log_expert < log_expert.max() + math.log(how.alpha)] = -math.inf
            assert int(scores.argmax()) == token
            text.append(token)
