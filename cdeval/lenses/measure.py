"""What each layer already knows, through each lens, on texts that nothing was fitted to."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from cdeval.lenses.reading import ROWS_AT_ONCE, Passage, View, passages
from cdeval.models.loading import LanguageModel
from cdeval.records import EXPERT, LensScore


def measure(
    expert: LanguageModel, texts: Sequence[Sequence[int]], views: Sequence[View], positions: int
) -> list[LensScore]:
    """Next-token NLL, KL from the expert and top-1 agreement of each view, in their order; the expert itself last.

    Texts are read from the first on, each whole, until `positions` positions have entered, or all texts.

    Raises: ValueError: no text has two tokens.
    """
    sums: dict[int, Float[Tensor, " 3"]] = defaultdict(lambda: torch.zeros(3, dtype=torch.float64))
    taken = 0
    for text in texts:
        if taken >= positions:
            break
        for passage in passages(expert, [text], {view.layer for view in views}, positions - taken, seed=0):
            taken += len(passage.targets)
            for start in range(0, len(passage.targets), ROWS_AT_ONCE):
                _add(sums, expert, views, passage, slice(start, start + ROWS_AT_ONCE))
    if not taken:
        raise ValueError("no text has two tokens: there is nothing to predict")
    names = [(view.layer, view.lens.value) for view in views] + [(expert.parts.depth, EXPERT)]
    means = [(sums[index] / taken).tolist() for index in range(len(names))]
    return [
        LensScore(layer, lens, nll, kl, agreement, taken)
        for (layer, lens), (nll, kl, agreement) in zip(names, means, strict=True)
    ]


@torch.inference_mode()
def _add(
    sums: dict[int, Float[Tensor, " 3"]],
    expert: LanguageModel,
    views: Sequence[View],
    passage: Passage,
    rows: slice,
) -> None:
    targets = passage.targets[rows, None]
    log_expert = torch.log_softmax(expert.parts.logits(passage.finished[rows]).float(), dim=-1)
    p_expert, best = log_expert.exp(), log_expert.argmax(dim=-1)
    for index in range(len(views) + 1):
        log_exit = log_expert
        if index < len(views):
            view = views[index]
            log_exit = torch.log_softmax(view.logits(expert, passage.hidden[view.layer][rows]).float(), dim=-1)
        nll = -log_exit.gather(1, targets).sum()
        kl = (p_expert * (log_expert - log_exit)).sum()
        agreement = (log_exit.argmax(dim=-1) == best).sum()
        sums[index] += torch.stack([nll, kl, agreement.float()]).double().cpu()
