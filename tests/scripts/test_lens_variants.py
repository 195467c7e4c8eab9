"""What the table of docs/lenses.md is computed by, where it is no code of the package."""

from collections.abc import Callable

import pytest
import torch

from cdeval.lens.least_squares import least_squares
from cdeval.models.loading import LanguageModel
from scripts import lens_variants
from scripts.lens_variants import Read, direction, fisher, of_rank, read, solve

TEXTS = torch.randint(2, 120, (20, 24), generator=torch.Generator().manual_seed(3))


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch, tiny: Callable[[str], LanguageModel]) -> Read:
    monkeypatch.setattr(lens_variants, "LAYERS", (1, 3))
    return read(tiny("llama"), TEXTS)


def test_it_is_the_packages_lens_and_low_rank_ends_there(texts: Read, tiny: Callable[[str], LanguageModel]) -> None:
    wanted = least_squares(tiny("llama"), TEXTS, [1, 3])
    solved = solve(texts, direction)
    for lens in (solved.lens, *(of_rank(solved, 32, shared=shared) for shared in (False, True))):
        for layer, translator in wanted.items():
            torch.testing.assert_close(lens[layer], translator, rtol=1e-4, atol=1e-5)
    for shared in (False, True):
        low = of_rank(solved, 3, shared=shared)
        spaces = torch.cat([low[layer].matrix for layer in (1, 3)], dim=1)
        assert torch.linalg.matrix_rank(spaces, rtol=1e-4) == (3 if shared else 6)
        for layer, translator in low.items():
            mean = solved.means[layer].float()
            at_the_mean = [one.matrix @ mean + one.bias for one in (translator, solved.lens[layer])]
            torch.testing.assert_close(*at_the_mean, rtol=1e-4, atol=1e-4)


def test_fisher_is_the_trace_of_the_gauss_newton_matrix(texts: Read, tiny: Callable[[str], LanguageModel]) -> None:
    expert, last = tiny("llama"), texts.last[:3].double()
    found = fisher(expert)(last)
    for row, weight in zip(last, found, strict=True):
        # Of the KL with respect to h_L over its root mean square, which the norm only scales.
        unit = (row / row.square().mean().sqrt()).requires_grad_()

        def log_p(unit: torch.Tensor) -> torch.Tensor:
            return (expert.parts.head_weight.double() @ (unit * expert.parts.norm.weight.double())).log_softmax(-1)

        jacobian = torch.autograd.functional.jacobian(log_p, unit)
        fisher_matrix = jacobian.T @ (log_p(unit).detach().exp()[:, None] * jacobian)
        assert float(weight) == pytest.approx(float(fisher_matrix.trace() / row.square().mean()), rel=1e-3)
