r"""Training a tuned lens: for each layer k the translator (A, b) that minimises a divergence from the expert.

    KL( p_expert || softmax(head(norm(h_k + A h_k + b))) )     [nats, mean over positions]

as Belrose et al. 2023 (section 3, appendix), from A = 0, b = 0, which is the final-norm lens, or from other
translators, as those of `cdeval.lens.least_squares`. The blocks are never
differentiated: one forward pass leaves the outputs of all layers behind. The cost is the head, vocabulary times width:
it is applied to some of the positions, to each once forwards and once backwards, by the gradient written out:

    ∂KL/∂z = p_exit - p_expert     (times 1 - (z / cap)² where logits are capped)

Adam takes steps of equal size in every coordinate, and some coordinates of a residual stream are hundreds of times
larger than others. So the translator is trained on h divided, coordinate by coordinate, by its root mean square over
the first step, and its sum is scaled by the root mean square of all: A = r · M · diag(1 / s), b = r · c.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.lens.config import FitConfig
from cdeval.lens.reading import chunks, require_finite
from cdeval.models.exits import tap
from cdeval.models.lens import Translator
from cdeval.models.loading import LanguageModel
from cdeval.store.progress import Steps

_LOWEST = torch.finfo(torch.float32).min  # for log 0: times a probability of 0 it is 0, where -inf would be NaN


class _Step(NamedTuple):
    """The positions of one step."""

    hidden: Mapping[int, Float[Tensor, "row width"]]
    finished: Float[Tensor, "row head_width"]  # what the head reads of the expert itself


class _Trainee:
    """One layer's translator in scaled coordinates."""

    def __init__(self, hidden: Float[Tensor, "row width"], start: Translator | None = None) -> None:
        squares = hidden.float().square().mean(dim=0)
        self.scale = squares.sqrt().clamp_min(1e-6)  # s
        self.size = squares.mean().sqrt().clamp_min(1e-6)  # r
        width = hidden.shape[-1]
        if start is None:
            start = Translator(*(torch.zeros(shape, device=hidden.device) for shape in ((width, width), (width,))))
        self.matrix = (start.matrix * self.scale / self.size).requires_grad_()
        self.bias = (start.bias / self.size).requires_grad_()

    def translated(self, hidden: Float[Tensor, "row width"]) -> Float[Tensor, "row width"]:
        wide = hidden.float()
        moved = torch.nn.functional.linear(wide / self.scale, self.matrix, self.bias)
        return (wide + self.size * moved).to(hidden.dtype)

    def translator(self) -> Translator:
        """Return the translator in the coordinates of the expert."""
        return Translator((self.size * self.matrix / self.scale).detach(), (self.size * self.bias).detach())


def fit(  # noqa: PLR0913 - the last two have defaults
    expert: LanguageModel,
    texts: Int[Tensor, "window position"],
    layers: Sequence[int],
    config: FitConfig,
    seed: int,
    say: Callable[[str], None] = lambda _line: None,
    *,
    start: Mapping[int, Translator] | None = None,
) -> dict[int, Translator]:
    """The translators of some layers; the same for the same seed, machine and number of threads.

    Args:
        expert: any number format; its weights stay as they are.
        texts: token ids of the training texts.
        layers: to be trained.
        config: how long, on how much at a time.
        seed: of the windows and positions.
        say: told how far it is, ten times.
        start: translators to begin from, by layer; None: the final-norm lens.

    Raises: ModelError: a divergence is no number.
    """
    trainees: dict[int, _Trainee] = {}
    optimizer: torch.optim.Optimizer | None = None
    with Steps(say, "step", config.steps, apart=0.0) as progress:
        for step, read in zip(range(config.steps), _steps(expert, texts, layers, config, seed), strict=False):
            if optimizer is None:
                trainees = {
                    layer: _Trainee(hidden, start[layer] if start else None) for layer, hidden in read.hidden.items()
                }
                parameters = [part for trainee in trainees.values() for part in (trainee.matrix, trainee.bias)]
                optimizer = torch.optim.Adam(parameters)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step)
            optimizer.zero_grad()
            divergence = _backward(expert, trainees, read)
            require_finite(
                expert, divergence.values(), f"at step {step + 1} of {config.steps} the divergence of a layer"
            )
            optimizer.step()
            shown = ", ".join(f"{value:.2f}" for value in divergence.values())
            progress.advance(1, f"KL {shown} nats (layers as asked)")
    return {layer: trainee.translator() for layer, trainee in trainees.items()}


def learning_rate(config: FitConfig, step: int) -> float:
    """Rising from 0 for `warm_up` of the steps, then falling to 0, never 0 itself."""
    rising = max(1, round(config.warm_up * config.steps))
    if step < rising:
        return config.learning_rate * (step + 1) / rising
    return config.learning_rate * (config.steps - step) / (config.steps - rising + 1)


def _steps(
    expert: LanguageModel,
    texts: Int[Tensor, "window position"],
    layers: Sequence[int],
    config: FitConfig,
    seed: int,
) -> Iterator[_Step]:
    """The positions of steps without end.

    Every window is read once before any is read again, some at a time; the steps that follow share out their positions.
    """
    draw = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(texts), generator=draw)
        for start in range(0, len(order), config.windows):
            read = _read(expert, texts[order[start : start + config.windows]], layers)
            places = torch.randperm(len(read.finished), generator=draw).to(expert.device)
            size = min(config.positions, len(places))
            for first in range(0, len(places) - size + 1, size):  # a rest that fills no step is left out
                some = places[first : first + size]
                yield _Step({layer: hidden[some] for layer, hidden in read.hidden.items()}, read.finished[some])


@torch.no_grad()
def _read(expert: LanguageModel, texts: Int[Tensor, "window position"], layers: Sequence[int]) -> _Step:
    """Read all positions of some windows."""
    with tap(expert.parts, layers) as tapped:
        finished = expert.parts.base(input_ids=texts.to(expert.device), use_cache=False).last_hidden_state
        return _Step({layer: tapped[layer].flatten(0, 1) for layer in layers}, finished.flatten(0, 1))


def _backward(expert: LanguageModel, trainees: Mapping[int, _Trainee], read: _Step) -> dict[int, float]:
    """Add the gradients of all translators; returns each layer's mean divergence [nats]."""
    count = len(read.finished)
    totals = {layer: torch.zeros((), device=expert.device) for layer in trainees}
    for rows in chunks(expert, count):
        with torch.no_grad():
            log_expert = torch.log_softmax(expert.parts.logits(read.finished[rows]).float(), dim=-1)
            p_expert = log_expert.exp()
            log_expert.clamp_(min=_LOWEST)
            certainty = torch.dot(p_expert.flatten(), log_expert.flatten())  # sum over p log p, the same for all layers
        for layer, trainee in trainees.items():
            finished = expert.parts.finish(trainee.translated(read.hidden[layer][rows]))
            gradient, cross_entropy = _gradient(expert, finished.detach(), p_expert)
            torch.autograd.backward(finished, gradient / count)
            totals[layer] += certainty + cross_entropy
    return {layer: float(total) / count for layer, total in totals.items()}


@torch.no_grad()
def _gradient(
    expert: LanguageModel, finished: Float[Tensor, "row head_width"], p_expert: Float[Tensor, "row vocab"]
) -> tuple[Float[Tensor, "row head_width"], Float[Tensor, ""]]:
    """The gradient of each row's KL with respect to what the head reads, and the sum of cross-entropies [nats]."""
    logits = expert.parts.logits(finished).float()
    log_exit = torch.log_softmax(logits, dim=-1).clamp_(min=_LOWEST)
    cross_entropy = -torch.dot(p_expert.flatten(), log_exit.flatten())
    error = log_exit.exp_().sub_(p_expert)
    if expert.parts.softcap is not None:
        error *= 1 - (logits / expert.parts.softcap) ** 2
    weight = expert.parts.head_weight
    return error.to(weight.dtype) @ weight, cross_entropy
