"""Likelihoods of given texts against full forward passes and the published formula, token by token."""

import math
from collections.abc import Callable

import pytest
import torch

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Ban, Context, Form, SearchKind
from cdeval.config.exits import ConfidenceMeasure, Selection
from cdeval.config.setting import Setting
from cdeval.decode.forced import Likelihood, ReadText, likelihoods, scoring_setting
from cdeval.models.loading import LanguageModel
from tests.decode.amateurs.naive import last_logits
from tests.decode.oracles import blocks_and_logits, early_exit, exit_logits, setting

TEXTS = [
    ReadText((5, 17, 40), (8, 77, 3)),
    ReadText((5, 17, 40), (61,)),  # shorter, beside a longer one of the same prompt
    ReadText((90, 3, 3), (0, 1, 20, 33)),  # the end of a text and a marker inside: nothing is banned, nothing ends
    ReadText((33,), (34, 35)),
]
Logits = Callable[[tuple[int, ...]], torch.Tensor]


def read(lm: LanguageModel, how: Setting, texts: list[ReadText], lanes: int = 8, **models: object) -> list[Likelihood]:
    found = dict(likelihoods(lm, texts, how, models.get("models", {}), lanes))  # type: ignore[arg-type]
    return [found[place] for place in range(len(texts))]


def shared(log_p: torch.Tensor, log_a: torch.Tensor, how: Setting) -> torch.Tensor:
    """The redistributed distribution by its definition: the plausible tokens' mass, shared out by the contrast."""
    plausible = log_p >= log_p.max() + math.log(how.alpha)
    scores = (log_p - how.beta * log_a).masked_fill(~plausible, -math.inf)
    return torch.where(plausible, scores.log_softmax(-1) + log_p[plausible].logsumexp(-1), log_p)


def expected(lm: LanguageModel, text: ReadText, how: Setting, amateur: Logits | None) -> tuple[float, bool]:
    total, greedy = 0.0, True
    for place, token in enumerate(text.continuation):
        before = text.prompt + text.continuation[:place]
        log_p = last_logits(lm, before).log_softmax(-1)
        if amateur is not None:
            log_p = shared(log_p, (amateur(before) / how.temperature).log_softmax(-1), how)
        total += float(log_p[token])
        greedy &= int(log_p.argmax()) == token
    return total, greedy


def test_the_expert_weighs_texts_as_a_forward_pass_does(two_tiny: LanguageModel) -> None:
    how = scoring_setting(early_exit(2), contrast=False)
    assert not how.amateur.contrasts
    best = int(last_logits(two_tiny, (5, 17, 40)).argmax())
    texts = [*TEXTS, ReadText((5, 17, 40), (best,))]
    for lanes in (1, 8):
        for found, text in zip(read(two_tiny, how, texts, lanes), texts, strict=True):
            log_p, greedy = expected(two_tiny, text, how, None)
            assert found.log_p == pytest.approx(log_p, abs=1e-4)
            assert found.greedy == greedy
    assert read(two_tiny, how, texts)[-1].greedy


def test_the_contrast_weighs_texts_by_its_redistributed_distribution(two_tiny: LanguageModel) -> None:
    asked = early_exit(2, search=SearchKind.sample, beams=1, ban=Ban.special)
    how = scoring_setting(asked, contrast=True)
    assert (how.form, how.search, how.ban) == (Form.redistributed, SearchKind.greedy, Ban.none)

    def amateur(ids: tuple[int, ...]) -> torch.Tensor:
        return exit_logits(two_tiny, blocks_and_logits(two_tiny, ids)[0][1])

    for found, text in zip(read(two_tiny, how, TEXTS), TEXTS, strict=True):
        log_p, greedy = expected(two_tiny, text, how, amateur)
        assert found.log_p == pytest.approx(log_p, abs=1e-4)
        assert found.greedy == greedy


def test_the_chances_of_all_next_tokens_are_one(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("llama")
    every = [ReadText((5, 17, 40), (token,)) for token in range(lm.model.config.vocab_size)]
    found = read(lm, scoring_setting(early_exit(1), contrast=True), every, lanes=64)
    assert sum(math.exp(one.log_p) for one in found) == pytest.approx(1.0, abs=1e-5)
    assert sum(one.greedy for one in found) == 1


def test_another_model_reads_along(tiny: Callable[[str], LanguageModel]) -> None:
    lm, weak = tiny("llama"), tiny("gpt2")
    asked = setting(amateur=Amateur("model", name="weak", context=Context.full), temperature=0.5)
    how = scoring_setting(asked, contrast=True)
    found = read(lm, how, TEXTS, models={how.amateur: weak})
    for one, text in zip(found, TEXTS, strict=True):
        assert one.log_p == pytest.approx(expected(lm, text, how, lambda ids: last_logits(weak, ids))[0], abs=1e-4)


def test_an_amateur_that_is_told_how_long_a_text_is_reads_it_so(tiny: Callable[[str], LanguageModel]) -> None:
    """A confidence threshold falls along the text: a text beside a longer one has its own thresholds."""
    lm = tiny("llama")
    exits = Amateur(
        "early_exit", layers=(1, 2), selection=Selection.confidence, measure=ConfidenceMeasure.softmax, threshold=0.04
    )
    how = scoring_setting(setting(amateur=exits), contrast=True)
    together, alone = read(lm, how, TEXTS), [read(lm, how, [text])[0] for text in TEXTS]
    assert [one.log_p for one in together] == pytest.approx([one.log_p for one in alone], abs=1e-5)
