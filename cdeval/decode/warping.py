"""The cuts of a distribution before sampling: pure functions, float32, per lane, in Hugging Face's order.

    temperature   log w / τ
    top_k         the k largest, and what ties with the k-th                           Fan et al. 2018
    top_p         the fewest tokens, largest first, that hold more than p              Holtzman et al. 2020, nucleus
    min_p         w >= min_p * max w                                                   Nguyen et al. 2024
    typical_p     closest to the entropy first, until they hold p                      Meister et al. 2022
    eta           w >= min(ε, sqrt(ε) exp(−entropy)), and always the largest           Hewitt et al. 2022

Each is the rule of plausibility of the same name (`cdeval.decode.plausibility`), and sees what the one before it left,
re-normalised. The scores may be log-probabilities or contrastive scores: what counts is their softmax; −inf stays
−inf. `generate` of transformers does the same, and tests hold it to that. Only the lanes that have a cut are given to
it: sorting a vocabulary takes as long as a small model's forward pass.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config.setting import Sampling
from cdeval.decode.beam import Ranks, ranks
from cdeval.decode.lanes import column, index
from cdeval.decode.plausibility import eta, min_p, nucleus, top_k, typical


def _columns(as_read: Callable[[float], float] = float) -> Callable[[Sequence[float], torch.device], Tensor]:
    return lambda values, device: column([as_read(value) for value in values], device)


# By the setting, in the order in which they are applied: what goes, and how the lanes' numbers are stacked for it.
_CUTS: dict[str, tuple[Callable[[Tensor, Any], Tensor], Callable[[Sequence[Any], torch.device], Any]]] = {
    "top_k": (top_k.beyond, ranks),
    "top_p": (nucleus.outside, _columns(lambda p: 1 - p)),
    "min_p": (min_p.unlikely, _columns(math.log)),
    "typical_p": (typical.untypical, _columns()),
    "eta": (eta.unlikely, _columns()),
}


class LaneCut(NamedTuple):
    """One cut, and the lanes that have it."""

    marked: Callable[[Tensor, Any], Tensor]  # the tokens that go
    places: Sequence[int]  # the lanes, in rising order, known to the host
    lanes: Int[Tensor, " cut"]  # the same on the device
    reads: Float[Tensor, "cut 1 1"] | Ranks  # the numbers of these lanes

    def for_lanes(self, rows: slice) -> "LaneCut":
        """Select some lanes, which are then counted from the first of them."""
        own = slice(bisect_left(self.places, rows.start), bisect_left(self.places, rows.stop))
        reads = self.reads.for_lanes(own) if isinstance(self.reads, Ranks) else self.reads[own]
        places = [place - rows.start for place in self.places[own]]
        return LaneCut(self.marked, places, self.lanes[own] - rows.start, reads)


class Warping(NamedTuple):
    """The settings of the lanes."""

    temperature: Float[Tensor, "lane 1 1"]
    cuts: Sequence[LaneCut]  # those that some lane has

    def for_lanes(self, rows: slice) -> "Warping":
        """Select the settings of some lanes."""
        cuts = [cut.for_lanes(rows) for cut in self.cuts]
        return Warping(self.temperature[rows], [cut for cut in cuts if cut.places])


def warping(samplings: Sequence[Sampling], device: torch.device) -> Warping:
    """Stack the settings of the lanes."""
    cuts = []
    for name, (marked, stack) in _CUTS.items():
        numbers = {place: number for place, one in enumerate(samplings) if (number := getattr(one, name)) is not None}
        if numbers:
            places = [*numbers]
            cuts.append(LaneCut(marked, places, index(places, device), stack([*numbers.values()], device)))
    return Warping(column([one.temperature for one in samplings], device), cuts)


def warp(scores: Float[Tensor, "lane beam token"], by: Warping) -> Float[Tensor, "lane beam token"]:
    """Scores whose softmax is drawn from; what is left out is -inf."""
    scores = scores / by.temperature
    for cut in by.cuts:
        if len(cut.places) == len(scores):
            scores = scores.masked_fill(cut.marked(scores, cut.reads), -math.inf)
        else:
            own = scores[cut.lanes]
            scores = scores.index_copy(0, cut.lanes, own.masked_fill(cut.marked(own, cut.reads), -math.inf))
    return scores
