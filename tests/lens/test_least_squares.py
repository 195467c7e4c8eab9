"""The closed form against numpy's own least squares on all positions at once, for every family."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.config.exits import Lens
from cdeval.errors import ModelError, PromptError
from cdeval.lens.config import Weighting
from cdeval.lens.least_squares import NormalEquations, least_squares
from cdeval.lens.measure import measure
from cdeval.lens.reading import Contrast, View
from cdeval.models.exits import change, tap
from cdeval.models.lens import seen_through, translated
from cdeval.models.loading import LanguageModel, language_model
from tests.conftest import build_model, each_night

TEXTS = torch.randint(2, 120, (20, 24), generator=torch.Generator().manual_seed(3))


def states(expert: LanguageModel) -> dict[int, np.ndarray]:
    with torch.no_grad(), tap(expert.parts, [1, 3, 4]) as tapped:
        expert.parts.base(input_ids=TEXTS, use_cache=False)
        return {layer: out.flatten(0, 1).double().numpy() for layer, out in tapped.items()}


@pytest.mark.parametrize("weighting", Weighting)
def test_it_is_numpys_solution(any_tiny: LanguageModel, weighting: Weighting) -> None:
    """Of the rows times the roots of their weights, and below them the roots of the ridge, which are to become 0."""
    found = least_squares(any_tiny, TEXTS, [1, 3], weighting=weighting, ridge=0.01)
    read = states(any_tiny)
    last = read[4]
    roots = (1 / np.sqrt(np.mean(last**2, axis=1)) if weighting is Weighting.direction else np.ones(len(last)))[:, None]
    for layer, translator in found.items():
        inputs = roots * np.hstack([read[layer], np.ones((len(last), 1))])
        ridge = np.diag(np.sqrt(0.01 * np.sum(inputs**2, axis=0)))
        wanted = np.vstack([roots * (last - read[layer]), np.zeros((33, 32))])
        solution = np.linalg.lstsq(np.vstack([inputs, ridge]), wanted, rcond=None)[0]
        np.testing.assert_allclose(translator.matrix.numpy(), solution[:-1].T, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(translator.bias.numpy(), solution[-1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", each_night())
def test_what_lies_behind_h_l_is_no_part_of_the_fit(architecture: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Kills: a norm before the fit, or none after it, also where the norm has a scale and OPT a projection."""
    expert = language_model(build_model(architecture), tokenizer, architecture)
    before = least_squares(expert, TEXTS, [2])[2]
    for module in (expert.parts.norm, expert.parts.project_out):
        weight = getattr(module, "weight", None)
        if weight is not None:
            weight.add_(torch.linspace(0, 0.3, weight.numel()).view_as(weight))
    assert all(torch.equal(*pair) for pair in zip(before, least_squares(expert, TEXTS, [2])[2], strict=True))
    with torch.no_grad():
        finished = expert.parts.base(input_ids=TEXTS, use_cache=False).last_hidden_state.flatten(0, 1)
    last = torch.from_numpy(states(expert)[4]).float()
    torch.testing.assert_close(seen_through(Lens.tuned, expert.parts, last), finished, rtol=1e-4, atol=1e-4)


def test_any_batches_make_the_same_lens(tiny: Callable[[str], LanguageModel]) -> None:
    expert = tiny("gpt2")
    whole = least_squares(expert, TEXTS, [2], at_once=20)[2]
    for at_once in (1, 3, 8):
        torch.testing.assert_close(
            least_squares(expert, TEXTS, [1, 2], at_once=at_once)[2], whole, rtol=1e-4, atol=1e-5
        )


def test_bfloat16_comes_near_to_float32(tiny: Callable[[str], LanguageModel]) -> None:
    expert = tiny("llama")
    exact = least_squares(expert, TEXTS, [2])[2]
    half = language_model(copy.deepcopy(expert.model).bfloat16(), expert.tokenizer, "tiny llama")
    rounded = least_squares(half, TEXTS, [2])[2]
    assert rounded.matrix.dtype == torch.float32
    assert (rounded.matrix - exact.matrix).norm() < 0.1 * exact.matrix.norm()


def test_it_brings_exits_nearer_to_the_expert_than_the_norm(any_tiny: LanguageModel) -> None:
    lines: list[str] = []
    made = least_squares(any_tiny, TEXTS, [1, 3], say=lines.append)
    views = [View(k, Lens.norm) for k in made] + [View(k, Lens.tuned, part) for k, part in made.items()]
    scores = measure(any_tiny, TEXTS.tolist(), views, 10_000, Contrast(0.3, 1.0, 2.0))
    found = {(score.layer, score.lens): score.kl for score in scores}
    assert all(found[layer, "tuned"] < 0.8 * found[layer, "norm"] for layer in (1, 3))
    assert all(line.startswith("fitting the linear lens of layer 1,3: token ") for line in lines)  # if it takes long
    hidden = torch.randn(3, 32)
    expected = any_tiny.parts.finish(translated(made[1], hidden))
    torch.testing.assert_close(seen_through(Lens.tuned, any_tiny.parts, hidden, made[1]), expected)


def test_a_coordinate_that_is_always_zero_adds_nothing() -> None:
    draw = torch.Generator().manual_seed(0)
    hidden, last = torch.randn(2, 50, 4, dtype=torch.float64, generator=draw)
    hidden[:, 2] = 0
    sums = NormalEquations.empty(4, torch.device("cpu"))
    sums.add(hidden, last, torch.ones(50, dtype=torch.float64))
    translator = sums.solve(0.0)
    assert translator.matrix[:, 2].tolist() == [0.0] * 4
    assert translator.matrix.isfinite().all()


def test_what_cannot_be_fitted_is_said(tiny: Callable[[str], LanguageModel]) -> None:
    expert = tiny("llama")
    with pytest.raises(PromptError, match=r"from 120 positions, and its blocks are 32 wide: at least 128 positions"):
        least_squares(expert, TEXTS[:5], [2])
    with pytest.raises(ModelError, match=r"amateur.layer=4 is outside tiny llama: it has L=4 blocks"):
        least_squares(expert, TEXTS, [2, 4])
    with pytest.raises(ModelError, match=r"has no single solution with a ridge of 0 on 240 positions"):
        least_squares(expert, torch.full((10, 24), 5), [2], ridge=0.0)
    with (
        change(expert.parts, [2], lambda _layer, hidden: hidden * torch.inf),
        pytest.raises(ModelError, match=r"tiny llama in float32: the output of block 2 or of the last one is NaN"),
    ):
        least_squares(expert, TEXTS, [2])
