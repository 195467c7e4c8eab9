import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cdeval.config.enums import Ban
from cdeval.decode.batches import decode
from cdeval.decode.lanes import Lane
from cdeval.errors import ModelError
from cdeval.metrics.features import FeatureCache
from cdeval.metrics.judges import likelihood as module
from cdeval.metrics.judges.likelihood import describe, nll_rows, with_known_logprobs
from cdeval.metrics.stats import perplexity
from cdeval.models.loading import LanguageModel, language_model
from cdeval.records import Generation
from tests.conftest import VOCAB, build_model
from tests.decode.oracles import early_exit, sampled, setting


def generation(number: int, prompt: int, tokens: int) -> Generation:
    ids = torch.randint(2, VOCAB - 2, (prompt + tokens,), generator=torch.Generator().manual_seed(number)).tolist()
    return Generation(str(number), "p", tuple(ids[:prompt]), None, "c", tuple(ids[prompt:]), None, None)


MIXED = [generation(i, prompt, tokens) for i, (prompt, tokens) in enumerate([(3, 5), (1, 7), (3, 5), (4, 1), (3, 5)])]


def nll_by_hand(judge: LanguageModel, text: Generation) -> float:
    """One text alone, all positions, one token at a time."""
    ids = torch.tensor([[*text.prompt_token_ids, *text.token_ids]])
    with torch.no_grad():
        log_p = judge.model(ids).logits[0].double().log_softmax(-1)
    start = len(text.prompt_token_ids)
    return -sum(float(log_p[start + t - 1, token]) for t, token in enumerate(text.token_ids))


def test_equals_the_hand_computation(any_tiny: LanguageModel):
    """Every architecture, prompts and texts of mixed lengths: off-by-one positions and mixed-up rows differ here."""
    rows = nll_rows(any_tiny, MIXED)
    np.testing.assert_allclose(rows[:, 0], [nll_by_hand(any_tiny, text) for text in MIXED], rtol=1e-5)
    assert rows[:, 1].tolist() == [5, 7, 5, 1, 5]


def test_company_does_not_matter(tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch):
    judge = tiny("gpt2")
    together = nll_rows(judge, MIXED)
    monkeypatch.setattr(module, "_LOGIT_BYTES", 1)  # one text a batch
    np.testing.assert_allclose(nll_rows(judge, MIXED[::-1])[::-1], together, rtol=1e-6)


def test_batches_respect_the_memory_bound(tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch):
    judge, texts = tiny("gpt2"), [generation(i, 2, 6) for i in range(7)]
    bound = 3 * 6 * VOCAB * 4  # three texts' logits
    sizes = []
    monkeypatch.setattr(module, "_LOGIT_BYTES", bound)
    hook = judge.model.register_forward_hook(lambda *seen: sizes.append(seen[-1].logits.numel() * 4))
    nll_rows(judge, texts)
    hook.remove()
    assert len(sizes) == 3
    assert max(sizes) <= bound


def test_bfloat16_logits_are_normalised_in_float32(tokenizer):
    """In bfloat16, log-probabilities near 5 are a multiple of 1/32: the sum over 40 tokens would show it."""
    model = build_model("llama").to(torch.bfloat16)
    judge = language_model(model, tokenizer, "bf16")
    text = generation(1, 2, 40)
    ids = torch.tensor([[*text.prompt_token_ids, *text.token_ids]])
    log_p = model(ids).logits[0].float().log_softmax(-1)
    expected = -log_p[1:-1].gather(1, ids[0, 2:, None]).sum()
    assert nll_rows(judge, [text])[0, 0] == pytest.approx(float(expected), rel=1e-4)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(tokenizer: object):
    model = build_model("gpt2")
    model.lm_head.weight.zero_()
    rows = nll_rows(language_model(model, tokenizer, "uniform"), MIXED)
    assert perplexity(rows) == pytest.approx(VOCAB)


def test_perplexity_weighs_tokens_not_texts():
    assert perplexity(np.array([[0.0, 1.0], [3.0, 2.0]])) == pytest.approx(math.e)
    assert math.isnan(perplexity(np.empty((0, 2))))


def test_empty_text_has_no_value_and_leaves_others_alone(tiny: Callable[[str], LanguageModel]):
    judge = tiny("gpt2")
    rows = nll_rows(judge, [MIXED[0], generation(9, 3, 0), MIXED[1]])
    assert np.isnan(rows[1]).all()
    np.testing.assert_allclose(rows[[0, 2]], nll_rows(judge, MIXED[:2]), rtol=1e-6)


def test_text_beyond_the_context_is_refused(tiny: Callable[[str], LanguageModel]):
    with pytest.raises(ModelError, match=r"260 tokens.*at most 256"):
        nll_rows(tiny("gpt2"), [generation(1, 130, 130)])


def test_prompt_without_tokens_is_refused(tiny: Callable[[str], LanguageModel]):
    with pytest.raises(ValueError, match="no tokens"):
        nll_rows(tiny("gpt2"), [generation(1, 0, 5)])


def test_rows_from_disk_are_the_models_and_the_prompts_own(tiny: Callable[[str], LanguageModel], tmp_path: Path):
    """Keys without the prompt, or without the model, would answer for another text."""
    cache, text = FeatureCache(tmp_path), MIXED[0]
    other_prompt = replace(text, prompt_token_ids=text.prompt_token_ids[:2])
    moved = replace(text, prompt_token_ids=text.prompt_token_ids + text.token_ids[:1], token_ids=text.token_ids[1:])
    for _ in range(2):
        for judge in (tiny("gpt2"), tiny("llama")):
            for texts in ([text], [text, other_prompt, moved, generation(9, 3, 0)]):
                np.testing.assert_allclose(nll_rows(judge, texts, cache), nll_rows(judge, texts), rtol=1e-6)


def calls_of(judge: LanguageModel, texts: list[Generation]) -> int:
    """How many rows the model reads."""
    read = []
    hook = judge.model.register_forward_hook(lambda *seen: read.append(len(seen[-1].logits)))
    nll_rows(judge, texts)
    hook.remove()
    return sum(read)


def test_what_the_decoder_said_of_a_text_is_what_the_scorer_says(any_tiny: LanguageModel):
    """Every architecture, beams that overtake each other and draws that are warped: a log-probability under the
    contrast, the temperature or a ban, or of a beam that lost, is another number."""
    contrast = early_exit(2, max_new_tokens=9, ban=Ban.special)
    drawn = sampled(setting(max_new_tokens=9, ban=Ban.special), temperature=0.7, top_k=20)
    lanes = [Lane(ids, how, f"{ids}") for how in (contrast, drawn) for ids in ((5, 6, 7), (9, 8, 4))]
    texts = []
    for batch in decode(any_tiny, lanes, max_lanes=8, compact_every=3):
        for lane, answer in zip(batch.lanes, batch.continuations, strict=True):
            of_prompt = (f"{lane}", "p", lanes[lane].prompt, None, "c", answer.token_ids)
            texts.append(Generation(*of_prompt, answer.logprob_expert, answer.score))
    assert len(texts) == 4
    assert calls_of(any_tiny, texts) == 0
    assert calls_of(any_tiny, with_known_logprobs(texts, None)) > 0
    np.testing.assert_allclose(
        nll_rows(any_tiny, texts), nll_rows(any_tiny, with_known_logprobs(texts, None)), rtol=2e-4
    )


def test_a_text_of_early_exits_is_read_by_the_whole_model(tiny: Callable[[str], LanguageModel]):
    """Its log-probability is that of exit layers, which are surer of themselves the less they know."""
    own = replace(MIXED[1], logprob_expert=-0.1, exit_layers=(4, 2))
    assert calls_of(tiny("gpt2"), [own]) > 0
    np.testing.assert_allclose(nll_rows(tiny("gpt2"), [own]), nll_rows(tiny("gpt2"), [MIXED[1]]))


def test_texts_with_and_without_a_log_probability_keep_their_places(tiny: Callable[[str], LanguageModel]):
    judge = tiny("gpt2")
    texts = [MIXED[0], replace(MIXED[1], logprob_expert=-4.5), generation(9, 3, 0), MIXED[2]]
    texts[3] = replace(texts[3], logprob_expert=math.nan)  # as JSON of others may have it
    rows = nll_rows(judge, texts)
    assert rows[1].tolist() == [4.5, 7]
    np.testing.assert_allclose(rows[[0, 3]], nll_rows(judge, [MIXED[0], MIXED[2]]), rtol=1e-6)
    assert np.isnan(rows[2]).all()


def test_the_note_says_who_judges_and_whether_it_wrote():
    own = describe("big", retokenised=False, wrote_the_texts=True)
    other = describe("small", retokenised=True, wrote_the_texts=False)
    assert "not known" in describe("any", retokenised=False, wrote_the_texts=None)
    assert "under big (the model that generated the arms)" in own
    assert (
        "under small (another model than the one that generated the arms, on the texts as it tokenises them)" in other
    )
