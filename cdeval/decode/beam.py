"""One step of beam search over all lanes at once, and the way back from its pointers: pure functions.

A beam's history is never copied. Each step leaves, for every beam, which beam it came from (`parent`) and its token;
texts are read backwards once, at the end:

    step     0        1        2            beam 0's text at step 2:
    beam 0   the      cat      sat          sat <- parent 1: dog <- parent 0: the   =>  the dog sat
    beam 1   a        dog      ran
    parent            0  0     1  0
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

CHUNK = 128  # values: 64 to 256 take alike


class Choice(NamedTuple):
    """The best extensions of each lane's beams, best first."""

    parent: Int[Tensor, "lane choice"]  # beam it extends
    token: Int[Tensor, "lane choice"]
    total: Float[Tensor, "lane choice"]  # accumulated score [nats]; -inf where a lane has fewer extensions


def largest(values: Float[Tensor, "*rows width"], count: int) -> tuple[Tensor, Tensor]:
    """`topk(count)` of each row, over a vocabulary's width in a quarter of the time.

    The `count` largest values lie in the `count` chunks with the largest maxima: one quick pass finds those, and only
    their values are sorted.
    """
    width = values.shape[-1]
    whole = width // CHUNK * CHUNK
    if width < 4 * count * CHUNK:
        found = values.topk(count, dim=-1)
        return found.values, found.indices
    chunks = values[..., :whole].view(*values.shape[:-1], -1, CHUNK)
    chosen = chunks.amax(dim=-1).topk(count, dim=-1).indices
    inside = chunks.gather(-2, chosen[..., None].expand(*chosen.shape, CHUNK)).flatten(-2)
    rest = values[..., whole:]  # fewer than a chunk: always looked at, as one more chunk
    found = torch.cat([inside, rest], dim=-1).topk(count, dim=-1)
    starts = torch.cat([chosen * CHUNK, torch.full_like(chosen[..., :1], whole)], dim=-1)
    return found.values, starts.gather(-1, found.indices // CHUNK) + found.indices % CHUNK


class Ranks(NamedTuple):
    """A rank for each lane, 1 being the best token; 0 where a lane has none."""

    rank: Int[Tensor, "lane 1 1"]
    most: int  # the largest, known to the host

    def for_lanes(self, rows: slice) -> "Ranks":
        """Select some lanes."""
        return Ranks(self.rank[rows], self.most)

    def value(self, scores: Float[Tensor, "lane beam vocab"], without: float) -> Float[Tensor, "lane beam 1"]:
        """The value at each row's rank; `without` where a lane has none."""
        values, _ = largest(scores, min(self.most, scores.shape[-1]))
        place = (self.rank - 1).clamp(0, values.shape[-1] - 1).expand(-1, scores.shape[1], 1)
        return values.gather(-1, place).masked_fill(self.rank == 0, without)


def ranks(values: Sequence[int | None], device: torch.device) -> Ranks | None:
    """The lanes' ranks, stacked; None: no lane has one."""
    numbers = [value or 0 for value in values]
    return Ranks(torch.tensor(numbers, device=device)[:, None, None], max(numbers)) if any(numbers) else None


def best_extensions(scores: Float[Tensor, "lane beam vocab"], totals: Float[Tensor, "lane beam"], count: int) -> Choice:
    """The `count` (beam, token) pairs of each lane with the highest accumulated score, over all beams and tokens."""
    lanes, beams, vocab = scores.shape
    candidates = (scores + totals[:, :, None]).view(lanes, beams * vocab)
    total, flat = largest(candidates, min(count, beams * vocab))
    missing = count - total.shape[1]  # a vocabulary smaller than the beam, at the first step
    if missing > 0:
        total = torch.nn.functional.pad(total, (0, missing), value=-torch.inf)
        flat = torch.nn.functional.pad(flat, (0, missing))
    return Choice(flat // vocab, flat % vocab, total)


def best_of_pool(
    scores: Float[Tensor, "lane beam vocab"],
    totals: Float[Tensor, "lane beam"],
    local: Float[Tensor, "lane beam vocab"],
    pool: int,
    count: int,
) -> Choice:
    """Choose as `best_extensions` does, among the `pool` pairs of a lane with the highest `local` value alone.

    Li et al.'s code chooses so, with the expert's log-probabilities of this step. Pairs of equal worth, impossible ones
    above all, keep the order of the pool.
    """
    lanes, beams, vocab = scores.shape
    _, pairs = largest(local.reshape(lanes, beams * vocab), min(pool, beams * vocab))
    worth = (scores + totals[:, :, None]).view(lanes, beams * vocab).gather(1, pairs)
    total, order = worth.sort(dim=-1, descending=True, stable=True)
    flat = pairs.gather(1, order)[:, :count]
    return Choice(flat // vocab, flat % vocab, total[:, :count])


def survivors(choice: Choice, ends: Bool[Tensor, "lane choice"], beams: int) -> tuple[Choice, Int[Tensor, "lane beam"]]:
    """The best `beams` extensions that do not end their text, and their places among all, which come best first.

    Where fewer go on, ended ones fill the row, at -inf.
    """
    order = ends.to(torch.uint8).argsort(dim=-1, stable=True)[:, :beams]
    total = choice.total.masked_fill(ends, -torch.inf).gather(1, order)
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
