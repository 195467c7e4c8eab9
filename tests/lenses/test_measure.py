"""Scores of lenses and fitted temperatures, against plain re-computations."""

from collections.abc import Callable

import pytest
import torch

from cdeval.exitconfig import Lens
from cdeval.lenses.measure import measure
from cdeval.lenses.reading import View, passages
from cdeval.lenses.temperature import calibrate, nll
from cdeval.models.loading import LanguageModel
from tests.decode.oracles import blocks_and_logits, exit_logits

TEXTS = [[5, 17, 40, 8, 77, 12], [90], [90, 3, 3, 61, 20, 33, 34, 35]]


@pytest.mark.parametrize("lens", [Lens.norm, Lens.raw])
def test_scores_are_the_naive_ones(any_tiny: LanguageModel, lens: Lens) -> None:
    """Text by text and position by position; a text of one token predicts nothing."""
    scores = measure(any_tiny, TEXTS, [View(2, lens)], positions=100)
    expected, expert_nll = torch.zeros(3, dtype=torch.float64), 0.0
    pairs = [(text[:place], text[place]) for text in TEXTS for place in range(1, len(text))]
    for before, target in pairs:
        blocks, logits = blocks_and_logits(any_tiny, tuple(before))
        log_p, log_q = (values.log_softmax(-1) for values in (logits, exit_logits(any_tiny, blocks[1], lens)))
        kl = float((log_p.exp() * (log_p - log_q)).sum())
        expected += torch.tensor([-float(log_q[target]), kl, float(log_p.argmax() == log_q.argmax())])
        expert_nll -= float(log_p[target])
    (exit_score, expert) = scores
    assert exit_score.positions == len(pairs) == 12
    found = [exit_score.nll, exit_score.kl, exit_score.agreement]
    assert found == pytest.approx((expected / len(pairs)).tolist(), abs=1e-4)
    assert (expert.layer, expert.lens) == (4, "expert")
    assert [expert.nll, expert.kl, expert.agreement] == pytest.approx([expert_nll / len(pairs), 0.0, 1.0], abs=1e-5)


def test_no_more_positions_than_asked(tiny: Callable[[str], LanguageModel]) -> None:
    assert measure(tiny("gpt2"), TEXTS, [View(1, Lens.norm)], positions=7)[0].positions == 7
    with pytest.raises(ValueError, match="no text has two tokens"):
        measure(tiny("gpt2"), [[5], []], [View(1, Lens.norm)], positions=7)


def test_sampled_positions_are_different_ones(tiny: Callable[[str], LanguageModel]) -> None:
    text = list(range(2, 42))
    (all_of_them,) = passages(tiny("gpt2"), [text], [1], per_text=99, seed=0)
    (some,) = passages(tiny("gpt2"), [text], [1], per_text=10, seed=0)
    assert all_of_them.targets.tolist() == text[1:]
    assert len(set(some.targets.tolist())) == 10
    place = some.targets[0] - 3
    torch.testing.assert_close(some.hidden[1][0], all_of_them.hidden[1][place])


def test_the_temperature_is_that_of_the_texts(tiny: Callable[[str], LanguageModel]) -> None:
    """Texts that the exit itself wrote, at a temperature of 3: no other one may fit them better."""
    lm, view, draw = tiny("phi"), View(2, Lens.norm), torch.Generator().manual_seed(1)
    texts = [[5 + start] for start in range(6)]
    for text in texts:
        for _ in range(30):
            blocks, _ = blocks_and_logits(lm, tuple(text))
            p = (exit_logits(lm, blocks[1]) / 3.0).softmax(-1)
            text.append(int(torch.multinomial(p, 1, generator=draw)))
    found = calibrate(lm, view, texts, seed=0)
    read = list(passages(lm, texts, [2], 64, 0))
    logits = torch.cat([view.logits(lm, passage.hidden[2]) for passage in read])
    targets = torch.cat([passage.targets for passage in read])
    assert found.nll == pytest.approx(nll(logits, targets, found.temperature))
    grid = [found.temperature * factor for factor in (0.5, 0.9, 0.98, 1.02, 1.1, 2.0)]
    assert all(nll(logits, targets, temperature) > found.nll for temperature in grid)
    assert found.temperature == pytest.approx(3.0, rel=0.25)
    assert found.nll < found.nll_uncalibrated
    assert (found.positions, found.texts) == (6 * 30, 6)


def test_a_calibrated_model_needs_no_temperature() -> None:
    """Targets drawn from the logits' own distribution: T is 1 but for chance, and 3 where logits are too large by 3."""
    draw = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 20, generator=draw)
    targets = torch.multinomial(logits.softmax(-1), 1, generator=draw)[:, 0]
    for factor in (1.0, 3.0):
        values = {t: nll(factor * logits, targets, factor * t) for t in (0.8, 0.9, 1.0, 1.1, 1.25)}
        assert min(values, key=lambda t: values[t]) == 1.0
