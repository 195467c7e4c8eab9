"""Training: the written-out gradient against autograd, and that it learns what is there to learn."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.config.exits import Lens
from cdeval.errors import PromptError
from cdeval.lens.config import FitConfig
from cdeval.lens.fit import _backward, _Step, _Trainee, fit, learning_rate
from cdeval.lens.least_squares import least_squares
from cdeval.lens.measure import measure
from cdeval.lens.reading import ROWS_AT_ONCE, Contrast, View, windows
from cdeval.models.exits import tap
from cdeval.models.lens import Translator, seen_through
from cdeval.models.loading import LanguageModel
from tests.small_tokenizers import byte_level

TEXTS = torch.randint(2, 120, (12, 24), generator=torch.Generator().manual_seed(3))
SMALL = FitConfig(steps=40, windows=2, window_tokens=24, positions=40, learning_rate=0.02)
STILL = FitConfig(steps=1, windows=2, window_tokens=24, positions=8, learning_rate=1e-12)


def read(expert: LanguageModel) -> _Step:
    with torch.no_grad(), tap(expert.parts, [1, 3]) as tapped:
        finished = expert.parts.base(input_ids=TEXTS[:4], use_cache=False).last_hidden_state
        return _Step({k: tapped[k].flatten(0, 1) for k in (1, 3)}, finished.flatten(0, 1))


def test_the_gradient_is_autograds(any_tiny: LanguageModel) -> None:
    """With soft caps, projections and a rest that does not fill a chunk, from a point that is not the identity."""
    step = read(any_tiny)
    assert len(step.finished) % ROWS_AT_ONCE
    trainees = {layer: _Trainee(hidden) for layer, hidden in step.hidden.items()}
    draw = torch.Generator().manual_seed(0)
    for trainee in trainees.values():
        trainee.matrix.data = 0.1 * torch.randn(32, 32, generator=draw)
        trainee.bias.data = 0.1 * torch.randn(32, generator=draw)
    found = _backward(any_tiny, trainees, step)
    for layer, trainee in trainees.items():
        ours = [part.grad.clone() for part in (trainee.matrix, trainee.bias) if part.grad is not None]
        trainee.matrix.grad = trainee.bias.grad = None
        log_p = any_tiny.parts.logits(step.finished).float().log_softmax(-1)
        logits = any_tiny.parts.logits(any_tiny.parts.finish(trainee.translated(step.hidden[layer])))
        kl = torch.nn.functional.kl_div(logits.float().log_softmax(-1), log_p, log_target=True, reduction="batchmean")
        kl.backward()
        assert found[layer] == pytest.approx(kl.item(), rel=1e-4)
        for mine, part in zip(ours, (trainee.matrix, trainee.bias), strict=True):
            torch.testing.assert_close(mine, part.grad, rtol=1e-3, atol=1e-5)


def test_scaled_coordinates_are_the_expert_s_own(tiny: Callable[[str], LanguageModel]) -> None:
    hidden = read(tiny("phi")).hidden[1] * torch.logspace(-2, 2, 32)
    trainee = _Trainee(hidden)
    trainee.matrix.data.normal_(generator=torch.Generator().manual_seed(1))
    trainee.bias.data.fill_(0.3)
    translator = trainee.translator()
    expected = hidden + hidden @ translator.matrix.T + translator.bias
    torch.testing.assert_close(trainee.translated(hidden).detach(), expected, rtol=1e-4, atol=1e-4)


def kl(expert: LanguageModel, translators: Mapping[int, Translator]) -> dict[tuple[int, str], float]:
    views = [View(k, Lens.norm) for k in translators] + [View(k, Lens.tuned, part) for k, part in translators.items()]
    scores = measure(expert, TEXTS.tolist(), views, 10_000, Contrast(0.3, 1.0, 2.0))
    return {(score.layer, score.lens): score.kl for score in scores}


@pytest.mark.parametrize("architecture", ["gpt2", "opt_projected", "gemma2"])
def test_training_brings_exits_nearer_to_the_expert(architecture: str, tiny: Callable[[str], LanguageModel]) -> None:
    expert = tiny(architecture)
    lines: list[str] = []
    weights = [weight.clone() for weight in expert.model.parameters()]
    translators = fit(expert, TEXTS, [1, 3], SMALL, seed=0, say=lines.append)
    found = kl(expert, translators)
    for layer in (1, 3):
        assert found[layer, "tuned"] < 0.9 * found[layer, "norm"]
    assert len(lines) == 10
    assert lines[-1].startswith("step 40 of 40: KL ")
    assert lines[-1].endswith("; 0 s left")
    assert all(torch.equal(*pair) for pair in zip(expert.model.parameters(), weights, strict=True))


def test_one_step_of_no_size_is_the_identity(tiny: Callable[[str], LanguageModel]) -> None:
    """Training starts from the final-norm lens: a rate of nearly 0 leaves it there."""
    (translator,) = fit(tiny("llama"), TEXTS, [2], STILL, seed=0).values()
    hidden = torch.randn(3, 32)
    torch.testing.assert_close(
        seen_through(Lens.tuned, tiny("llama").parts, hidden, translator), tiny("llama").parts.finish(hidden)
    )


def test_from_least_squares_a_step_of_no_size_leaves_them(tiny: Callable[[str], LanguageModel]) -> None:
    """Kills: a start that scaled coordinates change, or that another layer gets."""
    expert = tiny("phi")
    solved = least_squares(expert, TEXTS, [1, 3])
    found = fit(expert, TEXTS, [1, 3], STILL, seed=0, start=solved)
    for layer, translator in solved.items():
        for mine, part in zip(found[layer], translator, strict=True):
            torch.testing.assert_close(mine, part, rtol=1e-5, atol=1e-7)


def test_from_the_final_norm_lens_it_is_the_same_as_from_nothing(tiny: Callable[[str], LanguageModel]) -> None:
    short = FitConfig(steps=5, windows=2, window_tokens=24, positions=16)
    zero = {2: Translator(torch.zeros(32, 32), torch.zeros(32))}
    one, other = (fit(tiny("llama"), TEXTS, [2], short, seed=0, start=start)[2] for start in (None, zero))
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_from_least_squares_training_goes_on(tiny: Callable[[str], LanguageModel]) -> None:
    expert = tiny("gpt2")
    solved = least_squares(expert, TEXTS, [1, 3])
    found = fit(expert, TEXTS, [1, 3], replace(SMALL, learning_rate=0.005), seed=0, start=solved)
    before, after = kl(expert, solved), kl(expert, found)
    assert all(after[layer, "tuned"] < 0.95 * before[layer, "tuned"] for layer in (1, 3))


def test_the_seed_alone_makes_the_lens(tiny: Callable[[str], LanguageModel]) -> None:
    short = FitConfig(steps=5, windows=2, window_tokens=24, positions=16)
    one, again, other = (fit(tiny("llama"), TEXTS, [2], short, seed)[2].matrix for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_rate_rises_and_falls() -> None:
    rates = [learning_rate(FitConfig(steps=100, warm_up=0.1, learning_rate=1.0), step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[-1] < 0.02


def test_windows_hold_every_token_once(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = ["The quick brown fox jumps", "over the lazy dog"]
    stream = [token for text in texts for token in (*tokenizer(text)["input_ids"], tokenizer.eos_token_id)]
    found = windows(texts, tokenizer, 4)
    assert found.flatten().tolist() == stream[: len(stream) // 4 * 4]
    with pytest.raises(PromptError, match=r"fewer than one window \(fit.window_tokens=1000\)"):
        windows(texts, tokenizer, 1000)


def test_one_mark_stands_between_two_texts_where_bos_is_eos() -> None:
    """Kills: </s></s> between the texts of OPT and of other models that begin as they end."""
    found = windows(["The river"] * 3, byte_level("</s> $A"), 3).flatten().tolist()
    plain = byte_level()("The river")["input_ids"]
    assert found == [2, *plain, 2, *plain, 2, *plain][: len(found)]
    both = windows(["The river"] * 3, byte_level("<s> $A"), 4).flatten().tolist()
    assert both == [1, *plain, 2, 1, *plain, 2, 1, *plain, 2][: len(both)]
