"""Which exit is the amateur, by hand and against scipy."""

import math

import pytest
import torch
from scipy.spatial.distance import jensenshannon

from cdeval.decode.selection import divergence, first_sure, gap, saturation, thresholds


def test_divergence_is_scipys() -> None:
    torch.manual_seed(0)
    log_p, log_q = (torch.log_softmax(4 * torch.randn(2, 3, 50), -1) for _ in range(2))
    expected = jensenshannon(log_p.exp().double(), log_q.exp().double(), axis=-1) ** 2
    torch.testing.assert_close(divergence(log_p, log_q).double(), torch.tensor(expected), rtol=1e-4, atol=1e-6)


def test_divergence_keeps_its_range() -> None:
    """0 for equal ones, ln 2 for disjoint ones, and no NaN where a probability underflows."""
    one, other = (torch.log_softmax(torch.tensor([[a, b, 0.0]]), -1) for a, b in [(300.0, -300.0), (-300.0, 300.0)])
    assert divergence(one, one).tolist() == pytest.approx([0.0], abs=1e-6)
    assert divergence(one, other).tolist() == pytest.approx([math.log(2)], abs=1e-6)


def test_the_gap_by_hand() -> None:
    assert gap(torch.tensor([[[0.5, 0.2, 0.3]]]).log())[0, 0] == pytest.approx(0.2, abs=1e-6)


def test_saturation_by_hand() -> None:
    now, before = torch.tensor([[[3.0, 4.0]]]), torch.tensor([[[4.0, 3.0]]])
    assert saturation(now, before)[0, 0] == pytest.approx(24 / 25)
    assert saturation(now, None).tolist() == [[0.0]], "the first block has none before it"


def test_thresholds_fall_from_the_published_start_to_the_published_end() -> None:
    """0.9 λ + 0.1 at t = 0, and at t = N - 1 nearly 0.9 λ + 0.1 exp(-4); never above 1."""
    levels = thresholds(0.8, 100)
    assert levels[0] == pytest.approx(0.82)
    assert levels[25] == pytest.approx(0.72 + 0.1 * math.exp(-1))
    assert levels == sorted(levels, reverse=True)
    assert thresholds(1.0, 4)[0] == 1.0
    assert len(thresholds(0.5, 1)) == 1


def test_the_first_sure_candidate_or_the_last() -> None:
    confidence = torch.tensor([[[0.9, 0.1], [0.95, 0.5], [0.2, 0.1]]])  # lane, candidate, beam
    assert first_sure(confidence, torch.tensor([0.5])).tolist() == [[0, 1]], "0.5 reaches 0.5"
    assert first_sure(confidence, torch.tensor([0.99])).tolist() == [[2, 2]]
