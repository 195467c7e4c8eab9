"""The objective, worked by hand on four tokens."""

import math

import pytest
import torch

from cdeval.config.enums import Normalizer, TemperatureForm
from cdeval.decode.objective import ObjectiveSettings, ban, contrast, log_probs, objective_settings
from tests.decode.oracles import early_exit

EXPERT = torch.tensor([[[0.5, 0.3, 0.15, 0.05]]]).log()
AMATEUR = torch.tensor([[[0.7, 0.1, 0.1, 0.1]]]).log()


def one(**changes: object) -> ObjectiveSettings:
    return objective_settings([early_exit(1, **changes)], torch.device("cpu"))


def test_scores_by_hand() -> None:
    scores = contrast(EXPERT, AMATEUR, one(alpha=0.2, beta=1.0, temperature=1.0))[0, 0]
    assert scores[:3].tolist() == pytest.approx([math.log(0.5 / 0.7), math.log(3.0), math.log(1.5)], abs=1e-6)
    assert scores[3] == -math.inf  # 0.05 < 0.2 * 0.5


def test_beta_weighs_the_amateur() -> None:
    scores = contrast(EXPERT, AMATEUR, one(alpha=0.01, beta=0.5, temperature=1.0))[0, 0]
    assert scores[0] == pytest.approx(math.log(0.5) - 0.5 * math.log(0.7), abs=1e-6)
    assert torch.equal(contrast(EXPERT, AMATEUR, one(alpha=1e-9, beta=0.0))[0, 0], EXPERT[0, 0])


def test_the_two_temperature_forms_by_hand() -> None:
    """T = 0.5 squares the amateur; only the softmax form divides by the sum of squares, 0.52."""
    logprob, softmax = (
        -contrast(torch.zeros_like(AMATEUR), AMATEUR, one(alpha=1.0, temperature=0.5, temperature_form=form))[0, 0]
        for form in (TemperatureForm.logprob, TemperatureForm.softmax)
    )
    assert logprob.tolist() == pytest.approx([2 * math.log(p) for p in (0.7, 0.1, 0.1, 0.1)], abs=1e-6)
    assert softmax.tolist() == pytest.approx([math.log(p * p / 0.52) for p in (0.7, 0.1, 0.1, 0.1)], abs=1e-6)


def test_contrast_with_itself_is_zero_where_plausible() -> None:
    scores = contrast(EXPERT, EXPERT, one(alpha=0.2, temperature=1.0))[0, 0]
    assert scores[:3].tolist() == pytest.approx([0.0] * 3, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_stay_finite_on_the_plausible_set(dtype: torch.dtype) -> None:
    """The log of a softmax would be -inf - -inf = NaN here: the amateur's probability underflows."""
    expert = log_probs(torch.tensor([[[200.0, 199.0, -200.0]]], dtype=dtype))
    scores = contrast(expert, torch.tensor([[[-200.0, 200.0, 0.0]]], dtype=dtype), one(temperature=0.5))
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores[0, 0, :2]).all()
    assert not torch.isnan(scores).any()


def test_low_precision_logits_are_scored_in_float32() -> None:
    """In bfloat16 log-probabilities near -1.2345 and -1.2351 would be one number."""
    logits = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.bfloat16)
    assert torch.equal(log_probs(logits), torch.log_softmax(logits.float(), -1))


def test_a_banned_token_sets_no_threshold() -> None:
    """The ban comes before the mask: the best allowed token is always plausible, whatever the banned one had."""
    log_expert = ban(torch.tensor([[[0.98, 0.015, 0.005]]]).log(), torch.tensor([0]))
    scores = contrast(log_expert, torch.zeros(1, 1, 3), one(alpha=0.5))
    assert torch.isfinite(scores)[0, 0].tolist() == [False, True, False]


def test_every_lane_has_its_own_settings() -> None:
    settings = [early_exit(1, alpha=0.2), early_exit(1, alpha=0.01, beta=0.3, temperature=2.0)]
    both = contrast(EXPERT.expand(2, 1, 4), AMATEUR.expand(2, 1, 4), objective_settings(settings, torch.device("cpu")))
    for lane, how in enumerate(settings):
        assert torch.equal(both[lane], contrast(EXPERT, AMATEUR, objective_settings([how], torch.device("cpu")))[0])


def test_the_amateur_over_the_candidates_by_hand() -> None:
    """Of 0.7, 0.1, 0.1 the plausible tokens keep 7/9, 1/9, 1/9, also where only some tokens are given."""
    how = one(alpha=0.2, beta=1.0, temperature=1.0, normalizer=Normalizer.candidates)
    scores = contrast(EXPERT, AMATEUR, how)[0, 0]
    expected = [math.log(0.5 * 9 / 7), math.log(0.3 * 9), math.log(0.15 * 9)]
    assert scores[:3].tolist() == pytest.approx(expected, abs=1e-6)
    assert scores[3] == -math.inf
    assert contrast(EXPERT[..., :3], AMATEUR[..., :3], how)[0, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_one_lane_over_the_candidates_leaves_the_others_alone() -> None:
    settings = [early_exit(1, alpha=0.2), early_exit(1, alpha=0.2, normalizer=Normalizer.candidates)]
    both = contrast(EXPERT.expand(2, 1, 4), AMATEUR.expand(2, 1, 4), objective_settings(settings, torch.device("cpu")))
    for lane, how in enumerate(settings):
        assert torch.equal(both[lane], contrast(EXPERT, AMATEUR, objective_settings([how], torch.device("cpu")))[0])
    assert not torch.equal(both[0], both[1])
