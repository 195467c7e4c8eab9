r"""The linear lens in closed form: for each layer k the translator (A, b) by weighted ridge regression, in one pass.

    minimise over A, b   sum over positions of  w · |h_L - (h_k + A h_k + b)|²     plus the ridge, as below

h_k is the output of block k and h_L the output of the last block, both before the final norm. The idea is Din et al.
2023, "Jump to Conclusions"; the translators are used as those of a tuned lens are (`cdeval.models.lens`):

    norm(h_k + A h_k + b), then OPT's projection, where there is one, and the head.

What lies behind h_L belongs to reading it, not to the fit: a final norm with a learnt scale, whose scale the regression
never sees, and OPT's projection. Where an architecture has no final norm (post-norm OPT, whose blocks norm their own
output), h_L is what that last norm of a block left, and the projection follows directly.

The final norm keeps the direction of h_L and not its length, so that a position weighs 1 / mean(h_L²): an error counts
in proportion to the length that the norm will divide by. With X = (h_k, 1) and Y = h_L - h_k the normal equations

    (G + ridge · diag G) (Aᵀ; b) = C,      G = Xᵀ w X,      C = Xᵀ w Y

are added up in float64 batch by batch, whatever the number format of the expert: two matrices of width² for each layer
in memory, no position kept, nothing drawn at random.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config.exits import check_depth
from cdeval.config.labels import layers_name
from cdeval.errors import ModelError, PromptError
from cdeval.lens.config import RIDGE, Weighting
from cdeval.lens.reading import require_finite
from cdeval.models.exits import tap
from cdeval.models.lens import Translator
from cdeval.models.loading import LanguageModel
from cdeval.store.progress import Steps

WINDOW_TOKENS = 256
# Of one forward pass. Matrix products of other shapes round otherwise in bfloat16, so no setting of a study moves it.
WINDOWS_AT_ONCE = 8
# Fewest positions for each coordinate of a block's output: an ordinary regression with n positions for p coordinates
# errs on new texts n / (n - p) times as much as on its own.
POSITIONS_A_COORDINATE = 4


class NormalEquations(NamedTuple):
    """The sums of one layer, in float64; the last coordinate of a position is the 1 of the bias."""

    gram: Float[Tensor, "coordinate coordinate"]  # Xᵀ w X
    cross: Float[Tensor, "coordinate width"]  # Xᵀ w Y

    @classmethod
    def empty(cls, width: int, device: torch.device) -> "NormalEquations":
        """Make the equations of no positions."""
        zeros = torch.zeros(width + 1, 2 * width + 1, dtype=torch.float64, device=device)
        return cls(zeros[:, : width + 1].clone(), zeros[:, width + 1 :].clone())

    def add(
        self, hidden: Float[Tensor, "row width"], last: Float[Tensor, "row width"], weights: Float[Tensor, " row"]
    ) -> None:
        """Count some positions, in place."""
        inputs = torch.nn.functional.pad(hidden, (0, 1), value=1.0)
        weighted = inputs.T * weights
        self.gram.addmm_(weighted, inputs)
        self.cross.addmm_(weighted, last - hidden)

    def solve(self, ridge: float) -> Translator:
        """The translator, in float32. Raises: ValueError: without enough of a ridge there is no single one."""
        diagonal = self.gram.diagonal()
        # In coordinates of size 1 the ridge is a multiple of the identity. One that is always 0 has nothing to add.
        scale = diagonal.where(diagonal > 0, 1.0).rsqrt()
        scaled = self.gram * scale[:, None] * scale
        scaled.diagonal().fill_(1 + ridge)
        factor, failed = torch.linalg.cholesky_ex(scaled)
        if int(failed):
            raise ValueError("the normal equations are singular")
        solution = (torch.cholesky_solve(self.cross * scale[:, None], factor) * scale[:, None]).float()
        return Translator(solution[:-1].T.contiguous(), solution[-1].contiguous())


@torch.no_grad()
def least_squares(  # noqa: PLR0913 - named arguments with defaults
    expert: LanguageModel,
    texts: Int[Tensor, "window position"],
    layers: Sequence[int],
    *,
    weighting: Weighting = Weighting.direction,
    ridge: float = RIDGE,
    at_once: int = WINDOWS_AT_ONCE,
    say: Callable[[str], None] = lambda _line: None,
) -> dict[int, Translator]:
    """The translators of some layers, from one forward pass over the texts.

    Args:
        expert: any number format; its weights stay as they are.
        texts: token ids to learn from, as `lens.reading.windows` cuts them.
        layers: numbers of blocks, from 1 to L - 1.
        weighting: how much a position counts.
        ridge: added to the diagonal of the normal equations, relative to it.
        at_once: windows of a forward pass; the sums are the same but for rounding.
        say: told how far it is, at most ten times.

    Raises: ModelError: a layer lies outside the expert, an activation is NaN or infinite, or a ridge of 0 leaves no
        single solution. PromptError: too few positions for the width.
    """
    for layer in layers:
        check_depth(expert.parts.depth, layer, expert.name)
    width, depth = int(expert.model.config.hidden_size), expert.parts.depth
    check_positions(texts.numel(), width, expert.name)
    # Apple's GPUs have no float64.
    device = torch.device("cpu") if expert.device.type == "mps" else expert.device
    sums = {layer: NormalEquations.empty(width, device) for layer in sorted(set(layers))}
    with Steps(say, f"fitting the linear lens of layer {layers_name(list(sums))}: token", texts.numel()) as progress:
        for start in range(0, len(texts), at_once):
            read = texts[start : start + at_once]
            with tap(expert.parts, [*sums, depth]) as tapped:
                expert.parts.base(input_ids=read.to(expert.device), use_cache=False)
                last = tapped[depth].flatten(0, 1).to(device).double()
                weights = weights_of(last, weighting)
                for layer, equations in sums.items():
                    equations.add(tapped[layer].flatten(0, 1).to(device).double(), last, weights)
                    total = float(equations.gram.diagonal().sum() + equations.cross.sum())
                    require_finite(expert, [total], f"the output of block {layer} or of the last one")
            progress.advance(read.numel())
    try:
        solved = {layer: equations.solve(ridge) for layer, equations in sums.items()}
    except ValueError as error:
        raise ModelError(
            f"the linear lens of {expert.name} has no single solution with a ridge of {ridge:g} on {texts.numel()} "
            f"positions: give a larger ridge ({RIDGE:g} is usual) or more texts."
        ) from error
    return {layer: Translator(*(part.to(expert.device) for part in one)) for layer, one in solved.items()}


def weights_of(last: Float[Tensor, "row width"], weighting: Weighting) -> Float[Tensor, " row"]:
    """Compute the weights of positions from the outputs of the last block."""
    return 1 / last.square().mean(dim=-1) if weighting is Weighting.direction else last.new_ones(len(last))


def check_positions(count: int, width: int, name: str) -> None:
    """Refuse to learn a regression from too little. Raises: PromptError: says how many positions are wanted."""
    wanted = POSITIONS_A_COORDINATE * width
    if count < wanted:
        raise PromptError(
            f"the linear lens of {name} is to be learnt from {count} positions, and its blocks are {width} wide: at "
            f"least {wanted} positions are wanted ({POSITIONS_A_COORDINATE} a coordinate), better ten times as many. "
            "Give more texts to learn it from."
        )
