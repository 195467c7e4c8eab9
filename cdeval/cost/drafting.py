"""Would drafting pay? The speed-up of self-speculative decoding, by formula, from how often drafts are accepted.

The expert's first k blocks draft m tokens, one after the other, each read by the exit after block k; one pass of all
blocks then verifies them together. The drafts before the first that is refused are kept, that one is replaced by what
the expert chose, and where none is refused the pass has the next token, too: a cycle yields 1 to m + 1 tokens, and the
texts are those without drafting (Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding").
What the first k blocks made of the drafts is kept for the verification, as in Elhoushi et al. 2024, "LayerSkip": of all
its m + 1 rows they read the last one alone.

    tokens of a cycle      1 + a + ... + a^m                             a: share of drafts that are accepted
    bytes of a draft       blocks 1 ... k, the exit's lens, the head, a row of logits written and read
    bytes of verification  all blocks, the lens and the head, once for all rows, and the rows' logits
    speed-up               tokens of a cycle * bytes of a step / (m * bytes of a draft + bytes of verification)

A step without drafting contrasts with the same exit; m = 0 would be that. So a single draft pays where a is larger than
the bytes of a draft over those of a step. Assumed are one text without beams, that bytes alone take time (no launches,
no arithmetic: a processor with FLOPs to spare for m rows), and that drafts are accepted independently of each other.
All three favour drafting, so that a speed-up below 1 here settles the matter.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cdeval.config.exits import Lens
from cdeval.cost.traffic import TokenBytes
from cdeval.records import Drafting, Drafts

MOST_DRAFTS = 16  # of a cycle


class Accepted(NamedTuple):
    """How often the contrast accepts what an exit drafts, as shares of the positions that were measured."""

    layer: int  # blocks before the exit
    lens: str  # as of `records.LensScore`
    likeliest: float  # its likeliest token, by greedy search
    drawn: float  # a token drawn from it, by sampling


def drafting(costs: TokenBytes, exits: Iterable[Accepted], depth: int, context: int) -> list[Drafting]:
    """Price drafting by each exit that was measured.

    Args:
        costs: bytes of the expert that decodes; it may be another one than was measured.
        exits: that were measured.
        depth: blocks of the expert that was measured. The exit of another one is at the same share of its depth.
        context: tokens before the step, whose keys and values are read, too.

    Returns: an exit of one layer and lens each, in their order; the last where several fall on one layer.
    """
    found: dict[tuple[int, str], Drafting] = {}
    blocks = len(costs.by_block)
    for one in exits:
        layer = min(max(1, round(blocks * one.layer / depth)), blocks - 1)
        translates = one.lens not in (Lens.norm.value, Lens.raw.value)
        greedy, sampling = (
            _best(costs, layer, accepted, context, translates) for accepted in (one.likeliest, one.drawn)
        )
        found[layer, one.lens] = Drafting(layer, one.lens, greedy, sampling)
    return list(found.values())


def _best(costs: TokenBytes, layer: int, accepted: float, context: int, translates: bool) -> Drafts:
    """The best number of drafts up to `MOST_DRAFTS`."""
    tried = [
        Drafts(accepted, drafts, speed_up(costs, layer, accepted, context, drafts, translates=translates))
        for drafts in range(1, MOST_DRAFTS + 1)
    ]
    return max(tried, key=lambda one: one.speed_up)


def speed_up(costs: TokenBytes, layer: int, accepted: float, context: int, drafts: int, *, translates: bool) -> float:
    """The module's formula for a number of drafts, with `accepted` of them accepted, through a lens that translates."""
    lens = costs.translator if translates else 0
    past = context * costs.slot / len(costs.by_block)  # keys and values of a block
    below, above = _read(costs.by_block[:layer], past), _read(costs.by_block[layer:], past)
    step = below + above + lens + costs.head + 4 * costs.logits  # the expert's row and the exit's
    draft = below + lens + costs.head + 2 * costs.logits
    verification = step + drafts * 2 * costs.logits  # the exit's rows of the drafts are there already
    tokens = sum(accepted**place for place in range(drafts + 1))
    return tokens * step / (drafts * draft + verification)


def _read(blocks: Sequence[int], past: float) -> float:
    """Bytes of some blocks and of their keys and values."""
    return sum(blocks) + len(blocks) * past
