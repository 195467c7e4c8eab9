"""One step of beam search over all lanes at once, and the way back from its pointers: pure functions.

A beam's history is never copied. Each step leaves, for every beam, which beam it came from (`parent`) and its token;
texts are read backwards once, at the end:

    step     0        1        2            beam 0's text at step 2:
    beam 0   the      cat      sat          sat <- parent 1: dog <- parent 0: the   =>  the dog sat
    beam 1   a        dog      ran
    parent            0  0     1  0
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Choice(NamedTuple):
    """The best extensions of each lane's beams, best first."""

    parent: Int[Tensor, "lane choice"]  # beam it extends
    token: Int[Tensor, "lane choice"]
    total: Float[Tensor, "lane choice"]  # accumulated score [nats]; -inf where a lane has fewer extensions


def best_extensions(scores: Float[Tensor, "lane beam vocab"], totals: Float[Tensor, "lane beam"], count: int) -> Choice:
    """The `count` (beam, token) pairs of each lane with the highest accumulated score, over all beams and tokens."""
    lanes, beams, vocab = scores.shape
    candidates = (scores + totals[:, :, None]).view(lanes, beams * vocab)
    total, flat = candidates.topk(min(count, beams * vocab), dim=-1)
    missing = count - total.shape[1]  # a vocabulary smaller than the beam, at the first step
    if missing > 0:
        total = torch.nn.functional.pad(total, (0, missing), value=-torch.inf)
        flat = torch.nn.functional.pad(flat, (0, missing))
    return Choice(flat // vocab, flat % vocab, total)


def survivors(choice: Choice, ends: Bool[Tensor, "lane choice"], beams: int) -> tuple[Choice, Int[Tensor, "lane beam"]]:
    """The best `beams` extensions that do not end their text, and their places among all."""
    total, order = choice.total.masked_fill(ends, -torch.inf).topk(beams, dim=-1)
    return Choice(choice.parent.gather(1, order), choice.token.gather(1, order), total), order


def backtrack(
    parents: Int[Tensor, "step lane beam"], tokens: Int[Tensor, "step lane beam"], step: int, lane: int, beam: int
) -> tuple[int, ...]:
    """The token ids of the text that ends at (step, lane, beam), first token first."""
    text = []
    for back in range(step, -1, -1):
        text.append(int(tokens[back, lane, beam]))
        beam = int(parents[back, lane, beam])
    return tuple(reversed(text))
