"""Lenses neither fit, measure nor calibrate by NaN; rows that pad a vocabulary at −inf change nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from cdeval.config.exits import Lens
from cdeval.errors import ModelError
from cdeval.lens.config import FitConfig
from cdeval.lens.fit import fit
from cdeval.lens.loops import passage_readings
from cdeval.lens.measure import measure
from cdeval.lens.reading import Contrast, View
from cdeval.lens.temperature import calibrate
from cdeval.models.loading import LanguageModel

CONTRAST = Contrast(alpha=0.5, beta=1.0, temperature=1.0)
VIEW = View(2, Lens.norm)
TEXTS = [[5, 17, 40, 8, 77, 12], [90, 3, 3, 61, 20, 33, 34, 35]]
WINDOWS = torch.randint(2, 120, (4, 16), generator=torch.Generator().manual_seed(3))
FIT = FitConfig(steps=3, windows=2, window_tokens=16, positions=16)


@contextmanager
def logits_at(lm: LanguageModel, token: int, value: float) -> Iterator[None]:
    def change(_module: object, _inputs: object, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill(-1, torch.tensor([token]), value)

    handle = lm.parts.head.register_forward_hook(change)
    try:
        yield
    finally:
        handle.remove()


def everything(lm: LanguageModel) -> list[float]:
    (exit_score, expert) = measure(lm, TEXTS, [VIEW], 100, CONTRAST)
    found = [exit_score.nll, exit_score.kl, exit_score.entropy, expert.nll, expert.entropy]
    found.append(calibrate(lm, VIEW, TEXTS, 0).temperature)
    readings = passage_readings(lm, TEXTS, [(VIEW, CONTRAST)])
    found += [*readings.margins.flat, *readings.divergences.flat]
    (translator,) = fit(lm, WINDOWS, [2], FIT, 0).values()
    return [*found, *translator.bias.tolist()]


def test_what_is_no_number_is_refused(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("llama")
    acts: list[Callable[[], object]] = [
        lambda: measure(lm, TEXTS, [VIEW], 100, CONTRAST),
        lambda: calibrate(lm, VIEW, TEXTS, 0),
        lambda: passage_readings(lm, TEXTS, [(VIEW, CONTRAST)]),
        lambda: fit(lm, WINDOWS, [2], FIT, 0),
    ]
    for act in acts:
        with logits_at(lm, 60, torch.nan), pytest.raises(ModelError, match=r"tiny llama in float32: .*NaN or infinite"):
            act()


def test_rows_of_padding_change_nothing(tiny: Callable[[str], LanguageModel]) -> None:
    lm = tiny("llama")
    with logits_at(lm, 127, -1e30):
        expected = everything(lm)
    with logits_at(lm, 127, -torch.inf):
        assert everything(lm) == pytest.approx(expected, abs=1e-5)
