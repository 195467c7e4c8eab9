"""The search for the blocks to leave out of the expert, so that the rest is its amateur (`amateur=pruned`).

What each choice of blocks says is read on passages of the tuning split, each twice (`cdeval.lens.loops`): by the
anti-loop margin that contrasting with it would have at the given β and T, the higher the better, or by its divergence
from the expert on the first copy, the lower the better.

    greedy   block by block, each time the one without which the rest is best        n L - n (n - 1) / 2 choices
    span     n blocks in a row                                                        L - n + 1 choices
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cdeval.errors import PromptError
from cdeval.lens.config import PruneBy, PruneConfig, PruneSearch
from cdeval.lens.loops import Twice, mean_margin, read_twice
from cdeval.lens.reading import Contrast, chunks, divergence, require_finite
from cdeval.models.loading import LanguageModel
from cdeval.models.truncate import without_blocks
from cdeval.records import PrunedBlocks
from cdeval.store.progress import Steps

Rows = Float[np.ndarray, "passage 2"]  # margin, divergence [nats]
ReadTwice = tuple[Twice, Tensor]  # a passage, and what the head reads of the expert itself


def search_blocks(
    expert: LanguageModel,
    texts: Sequence[Sequence[int]],
    config: PruneConfig,
    contrast: Contrast,
    say: Callable[[str], None] = lambda _line: None,
) -> list[PrunedBlocks]:
    """Find the blocks to leave out.

    Args:
        expert: any, of more blocks than are to be left out.
        texts: token ids; passages are the beginnings of the first ones.
        config: how many blocks, by which criterion and search.
        contrast: β and T of the margin.
        say: told how far it is.

    Returns: the best choice of each step, the last one being the result; of a search for spans that one alone.
    """
    passages = read_by(expert, texts, config.passages)
    depth, count = expert.parts.depth, config.blocks or 0
    if config.search is PruneSearch.span:
        steps, total = 1, depth - count + 1
    else:
        steps, total = count, count * depth - count * (count - 1) // 2
    found: list[PrunedBlocks] = []
    with Steps(say, "blocks to leave out: choice", total) as progress:
        for _ in range(steps):
            choices = _spans(depth, count) if config.search is PruneSearch.span else _one_more(depth, found)
            rows = []
            for left_out in choices:
                rows.append(readings(expert, without_blocks(expert, left_out), passages, contrast))
                progress.advance(1)
            best = _best([of_choice.mean(axis=0) for of_choice in rows], config.by)
            found.append(summary(choices[best], rows[best]))
    return found


def measured(
    expert: LanguageModel, left_out: Sequence[int], texts: Sequence[Sequence[int]], passages: int, contrast: Contrast
) -> PrunedBlocks:
    """Measure one choice of blocks on other texts."""
    read = read_by(expert, texts, passages)
    return summary(tuple(left_out), readings(expert, without_blocks(expert, left_out), read, contrast))


def read_by(expert: LanguageModel, texts: Sequence[Sequence[int]], passages: int) -> list[ReadTwice]:
    """Read the passages by the expert. Raises: PromptError: there is none, as no text has two tokens."""
    found = read_twice(expert, texts, passages)
    if not found:
        raise PromptError("no text has two tokens: there is nothing to predict. Choose other prompts.")
    return [(passage, _states(expert, passage)) for passage in found]


def summary(left_out: tuple[int, ...], rows: Rows) -> PrunedBlocks:
    """The means over passages, the margin's with its interval."""
    return PrunedBlocks(left_out, mean_margin(rows[:, 0], seed=0), float(rows[:, 1].mean()), len(rows))


@torch.inference_mode()
def _states(model: LanguageModel, passage: Twice) -> Float[Tensor, "place head_width"]:
    """What the head reads at the places of a passage."""
    read: Tensor = model.parts.base(input_ids=passage.ids[:, :-1], use_cache=False).last_hidden_state
    return read[0, passage.places]


@torch.inference_mode()
def readings(expert: LanguageModel, rest: LanguageModel, passages: Sequence[ReadTwice], contrast: Contrast) -> Rows:
    """The margin and the divergence of each passage, with a variant of the expert as the amateur.

    Raises: ModelError: a number is not finite.
    """
    found = []
    for passage, own in passages:
        other = _states(rest, passage)
        parts = [
            _paid(expert, own[rows], other[rows], passage.targets[rows], contrast)
            for rows in chunks(expert, len(passage.places))
        ]
        pays, apart = (torch.cat(column) for column in zip(*parts, strict=True))
        found.append([passage.margin(pays), float(apart[: passage.first].mean())])
    require_finite(expert, [number for row in found for number in row], f"the margin or divergence of {rest.name}")
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def _paid(
    expert: LanguageModel, own: Tensor, other: Tensor, targets: Tensor, contrast: Contrast
) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
    """What the contrast pays for each target, β NLL_a − NLL_e, and KL(expert || amateur) there [nats]."""
    log_expert = torch.log_softmax(expert.parts.logits(own).float(), dim=-1)
    log_rest = torch.log_softmax(expert.parts.logits(other).float() / contrast.temperature, dim=-1)
    of_targets = [log.gather(1, targets[:, None])[:, 0] for log in (log_expert, log_rest)]
    return of_targets[0] - contrast.beta * of_targets[1], divergence(log_expert, log_rest)


def _spans(depth: int, count: int) -> list[tuple[int, ...]]:
    return [tuple(range(first, first + count)) for first in range(1, depth - count + 2)]


def _one_more(depth: int, found: Sequence[PrunedBlocks]) -> list[tuple[int, ...]]:
    before = found[-1].left_out if found else ()
    return [tuple(sorted((*before, block))) for block in range(1, depth + 1) if block not in before]


def _best(means: Sequence[Float[np.ndarray, " 2"]], by: PruneBy) -> int:
    """The place of the best choice; of equal ones the first."""
    return int(np.argmax([row[0] if by is PruneBy.margin else -row[1] for row in means]))
