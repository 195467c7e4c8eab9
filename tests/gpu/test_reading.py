"""What only reads texts, on a GPU against the CPU: lenses are fitted and measured, texts are scored."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cdeval.config.exits import Lens
from cdeval.lens.config import FitConfig
from cdeval.lens.fit import fit
from cdeval.lens.least_squares import least_squares
from cdeval.lens.measure import measure
from cdeval.lens.reading import Contrast, View
from cdeval.lens.temperature import calibrate
from cdeval.metrics.judges.hidden_states import last_hidden_features
from cdeval.metrics.judges.likelihood import nll_rows
from cdeval.models.lens import TunedLens
from cdeval.models.loading import LanguageModel
from cdeval.records import Generation
from tests.gpu.conftest import Place

WINDOWS = torch.randint(2, 120, (12, 24), generator=torch.Generator().manual_seed(3))
TEXTS: list[list[int]] = WINDOWS.tolist()
SHORT = FitConfig(steps=10, windows=2, window_tokens=24, positions=40, learning_rate=0.02)


@pytest.fixture
def both(place: Place, tiny: Callable[[str], LanguageModel]) -> tuple[LanguageModel, LanguageModel]:
    """A model in the place that is tested, and on the CPU in float32."""
    return place.model(tiny("gpt2")), tiny("gpt2")


def test_lenses_are_fitted_to_the_same_maps(both: tuple[LanguageModel, LanguageModel]) -> None:
    solved, descended = (
        [least_squares(lm, WINDOWS, [2, 3]) for lm in both],
        [fit(lm, WINDOWS, [2], SHORT, 0) for lm in both],
    )
    for (found, expected), close in ((solved, 1e-3), (descended, 3e-2)):
        for layer, translator in found.items():
            for mine, wanted in zip(translator, expected[layer], strict=True):
                assert mine.device == both[0].device
                torch.testing.assert_close(mine.cpu().float(), wanted, rtol=close, atol=close)


def test_lenses_are_measured_alike(both: tuple[LanguageModel, LanguageModel]) -> None:
    contrast, lens = Contrast(alpha=0.1, beta=1.0, temperature=0.5), least_squares(both[1], WINDOWS, [2])
    found = []
    for lm in both:
        own = TunedLens({2: type(lens[2])(*(part.to(lm.device) for part in lens[2]))}, {}, "")
        views = [View(2, Lens.norm), View(2, Lens.tuned, own.translators[2])]
        found.append((measure(lm, TEXTS, views, 100, contrast), calibrate(lm, views[0], TEXTS, 0)))
    (scores, temperature), (expected, wanted) = found
    for one, other in zip(scores, expected, strict=True):
        assert (one.nll, one.kl, one.entropy) == pytest.approx((other.nll, other.kl, other.entropy), rel=1e-3, abs=1e-4)
    assert temperature.temperature == pytest.approx(wanted.temperature, rel=0.02)


def test_texts_are_scored_alike(both: tuple[LanguageModel, LanguageModel]) -> None:
    texts = [
        Generation(f"text-{row}", "p", tuple(ids[:8]), None, "c", tuple(ids[8:]), None, None)
        for row, ids in enumerate(TEXTS)
    ]
    found, expected = (nll_rows(lm, texts) for lm in both)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    states, wanted = (last_hidden_features(lm, TEXTS) for lm in both)
    np.testing.assert_allclose(states, wanted, rtol=1e-3, atol=1e-3)
