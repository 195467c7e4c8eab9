"""The measurement of each layer, through each lens, on texts that nothing was fitted to."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from cdeval.lens.loops import margins
from cdeval.lens.reading import Contrast, Passage, View, chunks, passages, require_finite
from cdeval.models.loading import LanguageModel
from cdeval.records import EXPERT, LensScore
from cdeval.store.progress import Steps

_NUMBERS = 8


def measure(
    expert: LanguageModel,
    texts: Sequence[Sequence[int]],
    views: Sequence[View],
    positions: int,
    contrast: Contrast,
    say: Callable[[str], None] = lambda _line: None,
) -> list[LensScore]:
    """Measure each view, and what contrasting with it would change, in their order; the expert itself comes last.

    Texts are read from the first on, each whole, until `positions` positions have entered, or all texts. `say` is told
    how far it is.

    Raises: ValueError: no text has two tokens.
    """
    there = sum(max(0, len(text) - 1) for text in texts)
    sums: dict[int, Float[Tensor, " 8"]] = defaultdict(lambda: torch.zeros(_NUMBERS, dtype=torch.float64))
    taken = 0
    with Steps(say, "measured position", min(positions, there)) as progress:
        for text in texts:
            if taken >= positions:
                break
            for passage in passages(expert, [text], {view.layer for view in views}, positions - taken, seed=0):
                taken += len(passage.targets)
                for rows in chunks(expert, len(passage.targets)):
                    part = passage.part(rows)
                    _add(sums, expert, views, contrast, part)
                    progress.advance(len(part.targets))
    if not taken:
        raise ValueError("no text has two tokens: there is nothing to predict")
    names = [(view.layer, view.name) for view in views] + [(expert.parts.depth, EXPERT)]
    found = margins(expert, texts, [(view, contrast) for view in views], seed=0, say=say)
    scores = []
    for index, ((layer, lens), margin) in enumerate(zip(names, found, strict=True)):
        nll, kl, agreement, entropy, changed, plausible, likeliest, drawn = (sums[index] / taken).tolist()
        require_finite(expert, [nll, kl, entropy], f"what layer {layer} says, read by {lens},")
        scores.append(
            LensScore(layer, lens, nll, kl, agreement, entropy, changed, plausible, taken, likeliest, drawn, margin)
        )
    return scores


@torch.inference_mode()
def _add(
    sums: dict[int, Float[Tensor, " 8"]],
    expert: LanguageModel,
    views: Sequence[View],
    contrast: Contrast,
    passage: Passage,
) -> None:
    targets = passage.targets[:, None]
    log_expert = torch.log_softmax(expert.parts.logits(passage.finished).float(), dim=-1)
    p_expert, (most, best) = log_expert.exp(), log_expert.max(dim=-1)
    plausible = log_expert >= (most + math.log(contrast.alpha))[:, None]
    for index in range(len(views) + 1):
        log_exit, score = log_expert, log_expert.masked_fill(~plausible, -math.inf)
        if index < len(views):
            logits = views[index].logits(expert, passage.hidden[views[index].layer]).float()
            log_exit = torch.log_softmax(logits, dim=-1)
            amateur = torch.log_softmax(logits / contrast.temperature, dim=-1)
            score = (log_expert - contrast.beta * amateur).masked_fill(~plausible, -math.inf)
        chosen, drafted = score.argmax(dim=-1), log_exit.argmax(dim=-1)
        nll = -log_exit.gather(1, targets).sum()
        # An impossible token adds nothing to either, where 0 · inf would be NaN.
        kl = (p_expert * (log_expert - log_exit)).masked_fill_(log_expert == -math.inf, 0.0).sum()
        # A drawn draft x is accepted with min(1, q(x) / p(x)), q of the contrast: altogether the sum of min(p, q).
        drawn = torch.minimum(log_exit, torch.log_softmax(score, dim=-1)).exp().sum()
        entropy = -(log_exit.exp() * log_exit).masked_fill_(log_exit == -math.inf, 0.0).sum()
        counts = [(drafted == best).sum(), (chosen != best).sum(), plausible.sum(), (drafted == chosen).sum()]
        agreement, changed, candidates, likeliest = (count.float() for count in counts)
        found = [nll, kl, agreement, entropy, changed, candidates, likeliest, drawn]
        sums[index] += torch.stack(found).double().cpu()
