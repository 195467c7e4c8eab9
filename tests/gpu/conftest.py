"""The places where decoding is tested: a GPU, and the CPU as a rehearsal of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Compile
from cdeval.config.exits import ConfidenceMeasure, Lens
from cdeval.config.setting import AdaptiveExit
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.amateurs.ngram import Ngrams
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Continuation, Lane
from cdeval.models.lens import Translator, TunedLens
from cdeval.models.loading import LanguageModel, language_model
from cdeval.models.truncate import truncate
from tests.conftest import VOCAB, build_model
from tests.decode.test_device import TRUNCATED, TUNED

SMALL = Amateur("model", name="tiny small")
NGRAM = Amateur("ngram", order=3)
LINEAR = Amateur("early_exit", 2, lens=Lens.linear, lens_texts="tiny")
CALM = AdaptiveExit(ConfidenceMeasure.softmax, 0.5, 4.0, (2, 3), linear=True, lens_texts="tiny")
NO_GPU = "torch sees no GPU: run this on a machine with one (CONTRIBUTING, On a rented card)"


@dataclass(frozen=True)
class Place:
    """A device, and the number format that makes the texts of float32 there.

    The rehearsal has float64, because the CPU in float32 would be compared with itself: its roundings are others, as a
    GPU's are.
    """

    device: torch.device
    exact: torch.dtype

    def model(self, lm: LanguageModel, dtype: torch.dtype | None = None) -> LanguageModel:
        """A copy of a tiny model here; `dtype`: in another format than the exact one."""
        model = type(lm.model)(lm.model.config).eval().requires_grad_(requires_grad=False)
        model.load_state_dict(lm.model.state_dict())
        model.generation_config = lm.model.generation_config
        return language_model(model.to(self.device, dtype or self.exact), lm.tokenizer, lm.name, weights="tiny")


def here(name: str) -> Place:
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip(NO_GPU)
    return Place(torch.device(name), torch.float32 if name == "cuda" else torch.float64)


@pytest.fixture(params=[pytest.param("cuda", marks=pytest.mark.gpu), "cpu"])
def place(request: pytest.FixtureRequest) -> Place:
    """A GPU, and the CPU."""
    return here(request.param)


def amateur_models(lm: LanguageModel, tokenizer: PreTrainedTokenizerFast) -> dict[Amateur, AmateurModel]:
    """What the amateurs of these tests are made of, on the model's device, if they are models."""
    small = build_model(lm.model.config.model_type, seed=1, **_half(lm))
    small = language_model(small.to(lm.device, lm.dtype), tokenizer, "tiny small", weights="tiny small")
    draw, width = torch.Generator().manual_seed(7), lm.model.config.hidden_size
    maps = {
        layer: Translator(
            torch.randn(width, width, generator=draw).mul(0.1).to(lm.device),
            torch.randn(width, generator=draw).mul(0.1).to(lm.device),
        )
        for layer in (2, 3)
    }
    lens = TunedLens(maps, {}, "random")
    lenses = {amateur: lens for amateur in (TUNED, LINEAR, CALM.read_as) if amateur is not None}
    counts = Ngrams(torch.randint(VOCAB - 2, (9, 40), generator=draw).tolist(), 3, VOCAB - 2)
    return {SMALL: small, TRUNCATED: truncate(lm, 2), NGRAM: counts, **lenses}


def _half(lm: LanguageModel) -> dict[str, object]:
    """Half as many blocks, as the family's configuration calls them."""
    return {"n_layer": 2} if lm.model.config.model_type == "gpt2" else {"num_hidden_layers": 2}


def decoded(
    lm: LanguageModel, lanes: Sequence[Lane], models: dict[Amateur, AmateurModel] | None = None
) -> list[Continuation]:
    """The engine's texts of one batch, step by step; its cache is compacted on the way."""
    return decode_batch(lm, lanes, 4, amateur_models=models or {}, compiling=Compile.never)[0]
