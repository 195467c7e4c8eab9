"""The trace of a text against full forward passes over every prefix, and the text against the one nobody watched."""

from collections.abc import Callable

import pytest
import torch

from cdeval.config.enums import Ban, Form, Normalizer, SearchKind, TemperatureForm
from cdeval.config.setting import Setting
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Lane
from cdeval.decode.trace import trace_text
from cdeval.decode.watch import Watch
from cdeval.errors import ConfigError
from cdeval.models.loading import LanguageModel
from cdeval.records import Prompt
from tests.decode.oracles import blocks_and_logits, early_exit, exit_logits, next_scores, sampled, setting

IDS = (5, 17, 40, 8, 77)
PROMPT = Prompt("p", "five tokens", IDS, None, None)
Tiny = Callable[[str], LanguageModel]

SETTINGS = {
    "beam against an exit": early_exit(2, beta=0.5),
    "wide, by the code's temperature": early_exit(
        3, alpha=0.01, temperature=2.0, temperature_form=TemperatureForm.logprob
    ),
    "expert alone": setting(),
    "greedy with the candidates' head": early_exit(
        2, search=SearchKind.greedy, beams=1, normalizer=Normalizer.candidates, alpha=0.3
    ),
    "drawn": sampled(early_exit(2, alpha=0.01), seed=3),
    "its own length": early_exit(2, ban=Ban.none, max_new_tokens=20),
}


@pytest.mark.parametrize("how", SETTINGS.values(), ids=SETTINGS.keys())
def test_every_number_is_that_of_a_full_forward_pass(tiny: Tiny, how: Setting) -> None:
    lm = tiny("llama")
    (unwatched,), _ = decode_batch(lm, [Lane(IDS, how, "p")], 8)
    found = trace_text(lm, PROMPT, how)
    text = tuple(step.chosen.token for step in found.steps)
    assert text == unwatched.token_ids, "watching changes the text"
    assert found.score == pytest.approx(unwatched.score, abs=1e-4)
    for place, step in enumerate(found.steps):
        ids = IDS + text[:place]
        scores, log_expert = next_scores(lm, ids, how)
        (token, favourite) = (step.chosen.token, int(log_expert.argmax()))
        assert step.plausible == int(scores.isfinite().sum())
        assert step.flipped == (int(scores.argmax()) != favourite)
        assert step.chosen.log_expert == pytest.approx(float(log_expert[token]), abs=1e-4)
        assert step.chosen.score == pytest.approx(float(scores[token]), abs=1e-3)
        assert [one.token for one in step.candidates] == log_expert.topk(8).indices.tolist()
        for one in step.candidates:
            expected = float(scores[one.token])
            assert one.score == (None if expected == -torch.inf else pytest.approx(expected, abs=1e-3))
        if how.amateur.contrasts and how.normalizer is Normalizer.full:
            assert how.amateur.layer is not None
            logits = exit_logits(lm, blocks_and_logits(lm, ids)[0][how.amateur.layer - 1])
            softmax = how.temperature_form is TemperatureForm.softmax
            inner, outer = (how.temperature, 1.0) if softmax else (1.0, 1 / how.temperature)
            expected = float((logits / inner).log_softmax(-1)[token]) * outer
            assert step.chosen.log_amateur == pytest.approx(expected, abs=1e-3)
        if not how.amateur.contrasts:
            assert step.chosen.log_amateur is None
            assert not step.flipped


def test_the_beams_of_a_step_descend_from_those_before(tiny: Tiny) -> None:
    """The text's own beam, followed through the steps, carries the sum of the scores so far."""
    how = early_exit(2, alpha=0.01)
    found = trace_text(tiny("gpt2"), PROMPT, how)
    total, parent = 0.0, 0
    for step in found.steps:
        total += step.chosen.score or 0.0
        own = step.beams[step.beam]
        assert own.parent == parent
        assert own.total == pytest.approx(total, abs=1e-3)
        assert len(step.beams) == how.beams
        assert [beam.total for beam in step.beams] == sorted((beam.total for beam in step.beams), reverse=True)
        parent = step.beam
    assert total == pytest.approx(found.score, abs=1e-3)
    assert len({step.beam for step in found.steps}) > 1, "the text never left the first beam: the path is untested"


def test_what_is_outside_the_plausible_set_says_so(tiny: Tiny) -> None:
    found = trace_text(tiny("llama"), PROMPT, early_exit(2, alpha=0.3), candidates=20)
    outside = [one for step in found.steps for one in step.candidates if one.score is None]
    assert outside


def test_one_lane_is_watched_and_no_contrastive_search(tiny: Tiny) -> None:
    lane = Lane(IDS, early_exit(2))
    with pytest.raises(ValueError, match="one lane"):
        decode_batch(tiny("llama"), [lane, lane], 8, watch=Watch(4))
    how = setting(search=SearchKind.contrastive_search, penalty=0.6)
    with pytest.raises(ConfigError, match="contrastive_search cannot be traced"):
        trace_text(tiny("llama"), PROMPT, how)


def test_redistributed_scores_are_shown_for_every_token(tiny: Tiny) -> None:
    how = early_exit(2, form=Form.redistributed, search=SearchKind.greedy, beams=1)
    found = trace_text(tiny("llama"), PROMPT, how)
    assert all(step.plausible > 8 for step in found.steps)
