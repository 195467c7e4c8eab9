"""The trajectory of a prediction: every layer's distribution after every token of a prompt, and the expert's own.

After nostalgebraist's logit lens (2020) and Belrose et al. (2023), figure 1: rows are layers, columns tokens.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config.exits import WITHOUT_FILE, Lens
from cdeval.errors import PromptError
from cdeval.lens.linear import embedded_lens
from cdeval.lens.reading import View, chunks, divergence, entropy
from cdeval.models.exits import tap
from cdeval.models.lens import read_lens
from cdeval.models.loading import LanguageModel
from cdeval.prompts.tokens import TextCodec
from cdeval.records import EXPERT, Trajectory

CANDIDATES = 6  # next tokens whose probability is followed through the layers


def views_of(expert: LanguageModel, lens: str, blocks: Sequence[int] | None) -> list[View]:
    """The views through a lens that is named: norm, raw, linear, or the file of a tuned lens.

    Args: blocks: None: all layers, or those that the file has.

    Raises: ModelError: the file is no lens of this expert. CdevalError: as `lens.linear.embedded_lens`.
    """
    every = list(blocks or range(1, expert.parts.depth))
    if lens in WITHOUT_FILE:
        found = embedded_lens(expert, every).translators if lens == Lens.linear.name else {}
        return [View(block, Lens[lens], found.get(block)) for block in every]
    width = int(expert.model.config.hidden_size)
    translators = read_lens(Path(lens).expanduser(), blocks, width).on(expert).translators
    return [View(block, Lens.tuned, translators[block]) for block in blocks or sorted(translators)]


@torch.inference_mode()
def trajectory(expert: LanguageModel, prompt: str, views: Sequence[View]) -> Trajectory:
    """Read a prompt once and look at it through every view; the expert itself is the last row.

    Raises: PromptError: the prompt yields no tokens.
    """
    codec = TextCodec(expert.tokenizer)
    ids = codec.prompt_ids(prompt)
    if not ids:
        raise PromptError(f"prompt={prompt!r} yields no tokens: give some text.")
    with tap(expert.parts, {view.layer for view in views}) as tapped:
        inputs = torch.tensor([ids], device=expert.device)
        finished = expert.parts.base(input_ids=inputs, use_cache=False).last_hidden_state[0]
        hidden = {layer: out[0] for layer, out in tapped.items()}
    followed = expert.parts.logits(finished[-1:]).float()[0].topk(CANDIDATES).indices
    read = [_Row([], [], [], [], []) for _ in range(len(views) + 1)]
    for rows in chunks(expert, len(ids)):
        log_expert = torch.log_softmax(expert.parts.logits(finished[rows]).float(), dim=-1)
        for view, row in zip(views, read, strict=False):
            logits = view.logits(expert, hidden[view.layer][rows]).float()
            _add(row, torch.log_softmax(logits, dim=-1), log_expert, followed)
        _add(read[-1], log_expert, log_expert, followed)
    return Trajectory(
        tokens=tuple(codec.token_text(token) for token in ids),
        layers=(*(view.layer for view in views), expert.parts.depth),
        lens=views[0].lens.value if views else EXPERT,
        top=tuple(tuple(map(codec.token_text, row.top)) for row in read),
        probability=tuple(tuple(row.probability) for row in read),
        entropy=tuple(tuple(row.entropy) for row in read),
        kl=tuple(tuple(row.kl) for row in read),
        candidates=tuple(codec.token_text(int(token)) for token in followed),
        followed=tuple(tuple(row.followed) for row in read),
    )


class _Row(NamedTuple):
    """One view, position by position."""

    top: list[int]  # likeliest tokens
    probability: list[float]  # theirs
    entropy: list[float]  # [nats]
    kl: list[float]  # from the expert [nats]
    followed: list[float]  # probabilities of the candidates, after the last position that was read


def _add(
    row: _Row,
    log_exit: Float[Tensor, "position vocab"],
    log_expert: Float[Tensor, "position vocab"],
    followed: Int[Tensor, " candidate"],
) -> None:
    best = log_exit.max(dim=-1)
    row.top.extend(best.indices.tolist())
    row.probability.extend(best.values.exp().tolist())
    row.entropy.extend(entropy(log_exit).tolist())
    row.kl.extend(divergence(log_expert, log_exit).clamp_min(0).tolist())
    row.followed[:] = log_exit[-1, followed].exp().tolist()
