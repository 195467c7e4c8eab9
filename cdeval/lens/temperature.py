r"""The temperature at which an exit layer predicts held-out text best.

    T_k = arg min_T  - Σ_t log softmax(z_k(t) / T)[x_{t+1}]        [nats]

on texts of the prompts' source that are no prompts of the study, and that a tuned lens was not trained on (Guo et al.
2017, section 4, "temperature scaling"). Those of the split `tune` where there are any left, otherwise of the other one.
One number a layer and lens, searched over log T on a sample of positions. Their logits are kept where they are few
enough, and otherwise computed again from the layer's outputs for each T that is tried.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from torch import Tensor

from cdeval.config.amateur import Amateur, amateur_of
from cdeval.config.enums import Split
from cdeval.config.schema import CALIBRATED, RunConfig
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.lens.reading import Passage, View, chunks, passages, require_finite
from cdeval.models.lens import TunedLens
from cdeval.models.loading import LanguageModel
from cdeval.prompts.cut import shuffled
from cdeval.prompts.load import other_texts
from cdeval.prompts.tokens import TextCodec

POSITIONS, PER_TEXT, TEXT_TOKENS = 1024, 64, 256
RANGE = (0.02, 50.0)  # of temperatures
KEPT_BYTES = 256 << 20  # of logits, at most

Rows = tuple[Float[Tensor, "row vocab"], Int[Tensor, " row"]]  # logits and the tokens that follow


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted temperature and what it was fitted on."""

    temperature: float  # of three significant digits, so that the last bits of logits do not name another study
    layer: int
    nll: float  # at that temperature, a token [nats]
    nll_uncalibrated: float  # at T = 1
    positions: int
    texts: int  # that they are taken from

    def describe(self) -> str:
        """Describe it in one line for the screen."""
        return (
            f"calibrated: T={self.temperature:g} for layer {self.layer}: {self.nll_uncalibrated:.2f} nats at T=1 and "
            f"{self.nll:.2f} now (a token, {self.positions} positions of {self.texts} texts that are no prompts)"
        )


def with_temperature(
    config: RunConfig,
    expert: LanguageModel,
    amateur_models: Mapping[Amateur, AmateurModel],
    used: Collection[str],
    say: Callable[[str], None],
) -> tuple[RunConfig, Calibration | None]:
    """The configuration with a number for `contrast.temperature`, and where it is from, if it was to be calibrated.

    Args: used: ids of the prompts, whose texts are not looked at.
    Raises: PromptError: no text of the source is left.
    """
    if config.contrast.temperature != CALIBRATED or config.amateur.kind == "none":
        return config, None
    amateur = amateur_of(config.amateur)
    (layer,) = amateur.exits
    lens = amateur_models.get(amateur)
    translator, seen = None, set(used)
    if isinstance(lens, TunedLens):  # on texts that it was trained on it looks surer than it is elsewhere
        translator, seen = lens.translators[layer], seen | lens.trained_on
    texts = other_texts(config.prompts, seen, Split.tune)
    codec = TextCodec(expert.tokenizer)
    order = shuffled(texts, config.seed)[: math.ceil(POSITIONS / PER_TEXT)]
    tokens = [codec.prompt_ids(texts[place])[:TEXT_TOKENS] for place in order]
    found = calibrate(expert, View(layer, amateur.lens, translator), tokens, config.seed)
    say(found.describe())
    return replace(config, contrast=replace(config.contrast, temperature=found.temperature)), found


@torch.inference_mode()
def calibrate(expert: LanguageModel, view: View, texts: list[list[int]], seed: int) -> Calibration:
    """The temperature that fits the texts best.

    Raises: ValueError: no text has two tokens. ModelError: the likelihood is no number, so nothing fits best.
    """
    read = list(passages(expert, texts, [view.layer], PER_TEXT, seed))
    if not read:
        raise ValueError("no text has two tokens: there is nothing to predict")
    logits = _Logits(expert, view, read)
    plain = nll(logits, 1.0)
    require_finite(expert, [plain], f"the likelihood of texts under layer {view.layer}, lens {view.lens.name},")
    low, high = (math.log(end) for end in RANGE)
    best = minimize_scalar(lambda t: nll(logits, math.exp(t)), bounds=(low, high), method="bounded")
    temperature = float(f"{math.exp(best.x):.3g}")
    return Calibration(
        temperature=temperature,
        layer=view.layer,
        nll=nll(logits, temperature),
        nll_uncalibrated=plain,
        positions=sum(len(passage.targets) for passage in read),
        texts=len(read),
    )


class _Logits:
    """The logits of all positions, some at a time, as often as they are iterated over."""

    def __init__(self, expert: LanguageModel, view: View, read: list[Passage]) -> None:
        self._expert, self._view = expert, view
        self._parts = [passage.part(rows) for passage in read for rows in chunks(expert, len(passage.targets))]
        vocab, item = expert.parts.head_weight.shape[0], expert.model.dtype.itemsize
        fits = sum(len(part.targets) for part in self._parts) * vocab * item <= KEPT_BYTES
        self._kept = list(self._computed()) if fits else None

    def __iter__(self) -> Iterator[Rows]:
        return self._computed() if self._kept is None else iter(self._kept)

    def _computed(self) -> Iterator[Rows]:
        for part in self._parts:
            yield self._view.logits(self._expert, part.hidden[self._view.layer]), part.targets


def nll(rows: Iterable[Rows], temperature: float) -> float:
    """Mean negative log-likelihood of the targets [nats]."""
    total, count = 0.0, 0
    for logits, targets in rows:
        scaled = logits.float() / temperature
        total += float(torch.nn.functional.cross_entropy(scaled, targets, reduction="sum"))
        count += len(targets)
    return total / count
