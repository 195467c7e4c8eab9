"""What lenses hold at a time does not grow with texts or layers, and is the same whether it is cut or not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cdeval.config.exits import Lens
from cdeval.lens import reading, temperature
from cdeval.lens.config import FitConfig
from cdeval.lens.fit import fit
from cdeval.lens.loops import passage_readings
from cdeval.lens.measure import measure
from cdeval.lens.reading import Contrast, View, chunks
from cdeval.lens.temperature import calibrate, nll
from cdeval.lens.trajectory import trajectory
from cdeval.models.loading import LanguageModel, language_model
from tests.conftest import build_model
from tests.small_tokenizers import byte_level

VOCAB = 512
ROWS = 8  # at a time, where a bound is tested
VIEWS = [View(1, Lens.norm), View(2, Lens.raw), View(3, Lens.norm)]
CONTRAST = Contrast(0.3, 1.0, 2.0)
DRAW = torch.Generator().manual_seed(0)
TEXTS = torch.randint(3, 400, (2, 40), generator=DRAW).tolist()
PROMPT = "The river had been rising since the morning, and nobody knew why."

Work = Callable[[LanguageModel], object]
WORKS: dict[str, Work] = {
    "measure": lambda expert: measure(expert, TEXTS, VIEWS, 1000, CONTRAST),
    "margins": lambda expert: passage_readings(expert, TEXTS, [(view, CONTRAST) for view in VIEWS]),
    "trajectory": lambda expert: trajectory(expert, PROMPT, VIEWS),
    "calibrate": lambda expert: calibrate(expert, VIEWS[0], TEXTS, 0),
    "fit": lambda expert: fit(
        expert, torch.tensor(TEXTS), [1, 2], FitConfig(steps=2, windows=2, window_tokens=40, positions=64), 0
    ),
}


@pytest.fixture(scope="module")
def expert() -> LanguageModel:
    return language_model(build_model("llama", vocab_size=VOCAB, bos_token_id=1, eos_token_id=2), byte_level(), "wide")


class Largest(TorchDispatchMode):
    """The most numbers of any tensor that is as wide as the vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor) and tensor.shape[-1:] == (VOCAB,) and tensor.shape[0] != 32:
                self.numbers = max(self.numbers, tensor.numel())  # 32 rows: the head's matrix itself, transposed
        return out


@contextmanager
def at_once(monkeypatch: pytest.MonkeyPatch, rows: int) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(reading, "NUMBERS_AT_ONCE", rows * VOCAB)
        yield


@pytest.mark.parametrize("work", WORKS)
def test_no_tensor_of_a_vocabulary_has_more_positions_than_are_worked_on_at_a_time(
    work: str, expert: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: [positions, vocabulary] of a prompt for each layer, and the logits of all texts of a calibration."""
    with at_once(monkeypatch, ROWS), Largest() as largest:
        monkeypatch.setattr(temperature, "KEPT_BYTES", 0)
        WORKS[work](expert)
    assert ROWS * VOCAB >= largest.numbers > 0


@pytest.mark.parametrize("work", [name for name in WORKS if name != "calibrate"])
def test_numbers_are_the_same_however_many_positions_are_worked_on(
    work: str, expert: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for rows in (7, 10_000):
        with at_once(monkeypatch, rows):
            found.append(numbers(WORKS[work](expert)))
    np.testing.assert_allclose(*found, rtol=2e-4, atol=1e-5)


def test_a_likelihood_is_the_same_however_many_positions_are_worked_on(
    expert: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bits, which may move the third digit of a temperature that hardly matters."""
    view, found = VIEWS[0], []
    read = list(reading.passages(expert, TEXTS, [view.layer], 64, 0))
    for rows in (7, 10_000):
        with at_once(monkeypatch, rows):
            found.append([nll(temperature._Logits(expert, view, read), t) for t in (0.1, 1.0, 10.0)])
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_a_temperature_is_the_same_whether_logits_are_kept_or_computed_again(
    expert: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = WORKS["calibrate"](expert)
    monkeypatch.setattr(temperature, "KEPT_BYTES", 0)
    computed: list[int] = []
    original = View.logits
    monkeypatch.setattr(View, "logits", lambda *args: computed.append(1) or original(*args))
    assert WORKS["calibrate"](expert) == kept
    assert len(computed) > len(TEXTS), "more than once"


@pytest.mark.parametrize(("vocab", "rows"), [(49_152, 128), (128_256, 65), (262_144, 32), (10_000_000, 1)])
def test_fewer_positions_of_a_large_vocabulary_are_worked_on(vocab: int, rows: int) -> None:
    """32 MiB of float32 at most, but for vocabularies of which one row is larger."""
    weight = torch.empty(vocab, 4, device="meta")
    large = cast("LanguageModel", SimpleNamespace(parts=SimpleNamespace(head_weight=weight)))
    found = chunks(large, 300)
    assert found[0] == slice(0, rows)
    assert [place for rows in found for place in range(300)[rows]] == list(range(300))


def numbers(found: Any) -> list[float]:
    """All numbers of a result, in order."""
    if isinstance(found, bool | str) or found is None:
        return []
    if isinstance(found, int | float):
        return [float(found)]
    if isinstance(found, torch.Tensor | np.ndarray):
        return [float(value) for value in found.flatten()]
    if isinstance(found, dict):
        return [value for part in found.values() for value in numbers(part)]
    if isinstance(found, list | tuple):
        return [value for part in found for value in numbers(part)]
    return [value for name in found.__dataclass_fields__ for value in numbers(getattr(found, name))]
