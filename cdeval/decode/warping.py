"""The cuts of a distribution before sampling: pure functions, float32, per lane, in Hugging Face's order.

    temperature   log w / τ
    top_k         the k largest, and what ties with the k-th                           Fan et al. 2018
    top_p         the fewest tokens, largest first, that hold more than p              Holtzman et al. 2020, nucleus
    min_p         w >= min_p * max w                                                   Nguyen et al. 2024
    typical_p     closest to the entropy first, until they hold p                      Meister et al. 2022
    eta           w >= min(ε, sqrt(ε) exp(−entropy)), and always the largest           Hewitt et al. 2022

Each is the rule of plausibility of the same name (`cdeval.decode.plausibility`), and sees what the one before it left,
re-normalised. The scores may be log-probabilities or contrastive scores: what counts is their softmax; −inf stays
−inf. `generate` of transformers does the same, and tests hold it to that.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cdeval.config.setting import Sampling
from cdeval.decode.beam import Ranks, ranks
from cdeval.decode.lanes import column
from cdeval.decode.plausibility import eta, min_p, nucleus, top_k, typical


class Warping(NamedTuple):
    """The settings of the lanes, shaped to broadcast over beams and vocabulary; None: no lane uses it."""

    temperature: Float[Tensor, "lane 1 1"]
    top_k: Ranks | None
    above: Float[Tensor, "lane 1 1"] | None  # 1 - top_p: the mass left out; -1: not in this lane
    log_min_p: Float[Tensor, "lane 1 1"] | None  # -inf: not in this lane
    typical_p: Float[Tensor, "lane 1 1"] | None  # 2: not in this lane
    eta: Float[Tensor, "lane 1 1"] | None  # ε; 0: not in this lane

    def for_lanes(self, rows: slice) -> "Warping":
        """Select the settings of some lanes."""
        return Warping(
            temperature=self.temperature[rows],
            top_k=self.top_k and self.top_k.for_lanes(rows),
            **{name: None if (column := getattr(self, name)) is None else column[rows] for name in _COLUMNS},
        )


_COLUMNS = ("above", "log_min_p", "typical_p", "eta")


def warping(samplings: Sequence[Sampling], device: torch.device) -> Warping:
    """Stack the settings of the lanes."""

    def unless(values: Sequence[float | None], off: float) -> Tensor | None:
        if all(value is None for value in values):
            return None
        return column([off if value is None else value for value in values], device)

    return Warping(
        temperature=column([one.temperature for one in samplings], device),
        top_k=ranks([one.top_k for one in samplings], device),
        above=unless([None if one.top_p is None else 1 - one.top_p for one in samplings], -1.0),
        log_min_p=unless([None if one.min_p is None else math.log(one.min_p) for one in samplings], -math.inf),
        typical_p=unless([one.typical_p for one in samplings], 2.0),
        eta=unless([one.eta for one in samplings], 0.0),
    )


def warp(scores: Float[Tensor, "lane beam token"], by: Warping) -> Float[Tensor, "lane beam token"]:
    """Scores whose softmax is drawn from; what is left out is -inf."""
    scores = scores / by.temperature
    if by.top_k is not None:
        scores = _without(scores, top_k.beyond(scores, by.top_k))
    if by.above is not None:
        scores = _without(scores, nucleus.outside(scores, by.above))
    if by.log_min_p is not None:
        scores = _without(scores, min_p.unlikely(scores, by.log_min_p))
    if by.typical_p is not None:
        scores = _without(scores, typical.untypical(scores, by.typical_p))
    if by.eta is not None:
        scores = _without(scores, eta.unlikely(scores, by.eta))
    return scores


def _without(scores: Tensor, left_out: Tensor) -> Tensor:
    return scores.masked_fill(left_out, -math.inf)
