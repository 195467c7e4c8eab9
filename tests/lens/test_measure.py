"""Scores of lenses and fitted temperatures, against plain re-computations."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from cdeval.config.exits import Lens
from cdeval.lens.loops import margins, mean_margin, passage_readings
from cdeval.lens.measure import measure
from cdeval.lens.reading import Contrast, View, passages
from cdeval.lens.temperature import calibrate, nll
from cdeval.models.loading import LanguageModel, language_model
from cdeval.prompts.tokens import TextCodec
from tests.conftest import build_model
from tests.decode.oracles import blocks_and_logits, exit_logits
from tests.small_tokenizers import byte_level

CONTRAST = Contrast(alpha=0.5, beta=1.5, temperature=2.0)
TEXTS = [[5, 17, 40, 8, 77, 12], [90], [90, 3, 3, 61, 20, 33, 34, 35]]


@pytest.mark.parametrize("lens", [Lens.norm, Lens.raw])
def test_scores_are_the_naive_ones(any_tiny: LanguageModel, lens: Lens) -> None:
    """Text by text and position by position; a text of one token predicts nothing."""
    scores = measure(any_tiny, TEXTS, [View(2, lens)], 100, CONTRAST)
    expected, expert_nll = torch.zeros(8, dtype=torch.float64), 0.0
    pairs = [(text[:place], text[place]) for text in TEXTS for place in range(1, len(text))]
    for before, target in pairs:
        blocks, logits = blocks_and_logits(any_tiny, tuple(before))
        exit_values = exit_logits(any_tiny, blocks[1], lens)
        log_p, log_q = (values.log_softmax(-1) for values in (logits, exit_values))
        plausible = [token for token in range(len(log_p)) if log_p[token].exp() >= 0.5 * log_p.max().exp()]
        score = log_p - 1.5 * (exit_values / 2).log_softmax(-1)
        chosen = max(plausible, key=lambda token: float(score[token]))
        flipped = chosen != int(log_p.argmax())
        shares = {token: math.exp(score[token]) for token in plausible}
        overlap = sum(min(float(log_q[x].exp()), shares[x] / sum(shares.values())) for x in plausible)
        entropy = -float((log_q.exp() * log_q).sum())
        kl = float((log_p.exp() * (log_p - log_q)).sum())
        same = float(log_p.argmax() == log_q.argmax())
        taken = float(chosen == int(log_q.argmax()))
        expected += torch.tensor(
            [-float(log_q[target]), kl, same, entropy, float(flipped), len(plausible), taken, overlap]
        )
        expert_nll -= float(log_p[target])
    (exit_score, expert) = scores
    assert exit_score.positions == len(pairs) == 12
    found = [exit_score.nll, exit_score.kl, exit_score.agreement]
    found += [exit_score.entropy, exit_score.changed, exit_score.plausible]
    found += [exit_score.accepted_likeliest, exit_score.accepted_drawn]
    assert found == pytest.approx((expected / len(pairs)).tolist(), abs=1e-4)
    assert (expert.layer, expert.lens) == (4, "expert")
    assert expert.accepted_likeliest == 1.0
    assert [expert.nll, expert.kl, expert.agreement] == pytest.approx([expert_nll / len(pairs), 0.0, 1.0], abs=1e-5)


def test_no_more_positions_than_asked(tiny: Callable[[str], LanguageModel]) -> None:
    assert measure(tiny("gpt2"), TEXTS, [View(1, Lens.norm)], 7, CONTRAST)[0].positions == 7
    with pytest.raises(ValueError, match="no text has two tokens"):
        measure(tiny("gpt2"), [[5], []], [View(1, Lens.norm)], 7, CONTRAST)


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
    assert found.nll == pytest.approx(nll([(logits, targets)], found.temperature))
    grid = [found.temperature * factor for factor in (0.5, 0.9, 0.98, 1.02, 1.1, 2.0)]
    assert all(nll([(logits, targets)], temperature) > found.nll for temperature in grid)
    assert found.temperature == pytest.approx(3.0, rel=0.25)
    assert found.nll < found.nll_uncalibrated
    assert (found.positions, found.texts) == (6 * 30, 6)


def test_a_calibrated_model_needs_no_temperature() -> None:
    """Targets drawn from the logits' own distribution: T is 1 but for chance, and 3 where logits are too large by 3."""
    draw = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 20, generator=draw)
    targets = torch.multinomial(logits.softmax(-1), 1, generator=draw)[:, 0]
    for factor in (1.0, 3.0):
        values = {t: nll([(factor * logits, targets)], factor * t) for t in (0.8, 0.9, 1.0, 1.1, 1.25)}
        assert min(values, key=lambda t: values[t]) == 1.0


def test_the_margin_is_what_is_paid_for_the_passage_less_what_is_paid_for_its_copy(
    tiny: Callable[[str], LanguageModel],
) -> None:
    """Token by token, each read with all that stands before it; the first token of either copy does not count.

    The temperature is the amateur's alone, and β multiplies the amateur alone; without either it is the expert's own.
    """
    expert, passages_read = tiny("gpt2"), [[5, 17, 40], [90, 3, 61]]
    expected, alone, divergences = [], [], []
    for passage in passages_read:
        twice, pays, own, apart = passage + passage, [], [], []
        for place in (1, 2, 4, 5):
            blocks, logits = blocks_and_logits(expert, tuple(twice[:place]))
            nll_e = -logits.log_softmax(-1)[twice[place]]
            log_a = (exit_logits(expert, blocks[1], Lens.norm) / 2).log_softmax(-1)
            nll_a = -log_a[twice[place]]
            apart.append(float(torch.nn.functional.kl_div(log_a, logits.softmax(-1), reduction="sum")))
            pays.append(float(0.5 * nll_a - nll_e))
            own.append(float(-nll_e))
        expected.append(sum(pays[:2]) / 2 - sum(pays[2:]) / 2)
        alone.append(sum(own[:2]) / 2 - sum(own[2:]) / 2)
        divergences.append(sum(apart[:2]) / 2)
    contrast = Contrast(alpha=0.1, beta=0.5, temperature=2.0)
    found, plain = margins(expert, [*passages_read, [7]], [(View(2, Lens.norm), contrast)], seed=0)
    assert plain.value == pytest.approx(sum(alone) / 2, abs=1e-4)
    assert found.value == pytest.approx(sum(expected) / 2, abs=1e-4)
    assert found.n == 2
    read = passage_readings(expert, passages_read, [(View(2, Lens.norm), contrast)])
    assert read.divergences[:, 0] == pytest.approx(divergences, abs=1e-4), "of the first copy, at the temperature"
    assert math.isnan(found.low), "two passages have no interval"
    many = mean_margin(np.repeat(expected, 10), seed=0)
    assert min(expected) - 1e-4 <= many.low <= many.value <= many.high <= max(expected) + 1e-4


@pytest.mark.parametrize(("template", "marks"), [("<s> $A", [1]), ("<s> </s> $A </s>", [1, 2]), ("$A", [1])])
def test_the_copy_of_a_passage_has_no_beginning_of_text(template: str, marks: list[int]) -> None:
    """It goes on in the same text: a BOS in the middle is what no model was trained on, and moves every margin."""
    tokenizer = byte_level(template)
    expert = language_model(build_model("llama", vocab_size=420, bos_token_id=1, eos_token_id=2), tokenizer, "marked")
    written = "<s>" if template == "$A" else ""
    passage = TextCodec(tokenizer).prompt_ids(f"{written}The river had been rising")
    assert passage[: len(marks)] == marks
    own = passage[len(marks) :]
    nll = []
    for before in (marks, [*marks, *own]):
        for place in range(len(own)):
            _, logits = blocks_and_logits(expert, (*before, *own[:place]))
            nll.append(-float(logits.log_softmax(-1)[own[place]]))
    expected = -sum(nll[: len(own)]) / len(own) + sum(nll[len(own) :]) / len(own)
    (alone,) = margins(expert, [passage, marks], [], seed=0)
    assert alone.value == pytest.approx(expected, abs=1e-4)
    assert alone.n == 1, "marks alone say nothing"
