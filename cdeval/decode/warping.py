"""How sampling narrows a distribution before it draws: pure functions, float32, per lane, in Hugging Face's order.

    temperature   log w / τ
    top_k         the k largest, and what ties with the k-th                           Fan et al. 2018
    top_p         the fewest tokens, largest first, that hold more than p              Holtzman et al. 2020, nucleus
    min_p         w >= min_p * max w                                                   Nguyen et al. 2024
    typical_p     closest to the entropy first, until they hold p                      Meister et al. 2022
    eta           w >= min(ε, sqrt(ε) exp(−entropy)), and always the largest           Hewitt et al. 2022

Each sees what the one before it left, re-normalised. The scores may be log-probabilities or contrastive scores: what
counts is their softmax; −inf stays −inf. `generate` of transformers does the same, and tests hold it to that.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from cdeval.config.setting import Sampling
from cdeval.decode.beam import Ranks, ranks


class Warping(NamedTuple):
    """The settings of the lanes, shaped to broadcast over beams and vocabulary; None: no lane uses it."""

    temperature: Float[Tensor, "lane 1 1"]
    top_k: Ranks | None
    above: Float[Tensor, "lane 1 1"] | None  # 1 - top_p: the mass left out; -1: not in this lane
    log_min_p: Float[Tensor, "lane 1 1"] | None  # -inf: not in this lane
    typical_p: Float[Tensor, "lane 1 1"] | None  # 2: not in this lane
    eta: Float[Tensor, "lane 1 1"] | None  # ε; 0: not in this lane

    def of(self, rows: slice) -> "Warping":
        """Those of some lanes."""
        return Warping(
            temperature=self.temperature[rows],
            top_k=self.top_k and self.top_k.of(rows),
            **{name: None if (column := getattr(self, name)) is None else column[rows] for name in _COLUMNS},
        )


_COLUMNS = ("above", "log_min_p", "typical_p", "eta")


def warping(samplings: Sequence[Sampling], device: torch.device) -> Warping:
    """Stack the settings of the lanes."""

    def column(values: Sequence[float | None], off: float) -> Tensor | None:
        if all(value is None for value in values):
            return None
        filled = [off if value is None else value for value in values]
        return torch.tensor(filled, dtype=torch.float32, device=device)[:, None, None]

    temperatures = [one.temperature for one in samplings]
    return Warping(
        temperature=torch.tensor(temperatures, dtype=torch.float32, device=device)[:, None, None],
        top_k=ranks([one.top_k for one in samplings], device),
        above=column([None if one.top_p is None else 1 - one.top_p for one in samplings], -1.0),
        log_min_p=column([None if one.min_p is None else math.log(one.min_p) for one in samplings], -math.inf),
        typical_p=column([one.typical_p for one in samplings], 2.0),
        eta=column([one.eta for one in samplings], 0.0),
    )


def warp(scores: Float[Tensor, "lane beam token"], knobs: Warping) -> Float[Tensor, "lane beam token"]:
    """Scores whose softmax is drawn from; what is left out is -inf."""
    scores = scores / knobs.temperature
    if knobs.top_k is not None:
        scores = _without(scores, scores < knobs.top_k.value(scores, without=-math.inf))
    if knobs.above is not None:
        scores = _without(scores, _outside_nucleus(scores, knobs.above))
    if knobs.log_min_p is not None:
        scores = _without(scores, scores < scores.amax(dim=-1, keepdim=True) + knobs.log_min_p)
    if knobs.typical_p is not None:
        scores = _without(scores, _untypical(scores, knobs.typical_p))
    if knobs.eta is not None:
        scores = _without(scores, _below_eta(scores, knobs.eta))
    return scores


def _outside_nucleus(scores: Float[Tensor, "lane beam token"], above: Float[Tensor, "lane 1 1"]) -> Tensor:
    """The tokens that are left when the smallest ones, up to a mass of `above`, go; ties by their order."""
    ordered, places = scores.sort(dim=-1)
    outside = ordered.softmax(dim=-1).cumsum(dim=-1) <= above
    outside[..., -1] = False
    return outside.scatter(-1, places, outside)


def _untypical(scores: Float[Tensor, "lane beam token"], mass: Float[Tensor, "lane 1 1"]) -> Tensor:
    """Tokens whose surprisal is further from the entropy than that of those which hold the mass."""
    distance = (-scores.log_softmax(dim=-1) - _entropy(scores)).abs()
    ordered, places = distance.sort(dim=-1)
    held = scores.gather(-1, places).softmax(dim=-1).cumsum(dim=-1)
    last = (held < mass).sum(dim=-1, keepdim=True).clamp(max=scores.shape[-1] - 1)
    return distance > ordered.gather(-1, last)


def _below_eta(scores: Float[Tensor, "lane beam token"], epsilon: Float[Tensor, "lane 1 1"]) -> Tensor:
    eta = torch.minimum(epsilon, epsilon.sqrt() * (-_entropy(scores)).exp())
    return (scores.softmax(dim=-1) < eta) & (scores < scores.amax(dim=-1, keepdim=True))


def _entropy(scores: Float[Tensor, "lane beam token"]) -> Float[Tensor, "lane beam 1"]:
    """[nats]; a token that is left out adds 0 · −inf = NaN, which counts as 0."""
    log_p = scores.log_softmax(dim=-1)
    return -(log_p * log_p.exp()).nansum(dim=-1, keepdim=True)


def _without(scores: Tensor, left_out: Tensor) -> Tensor:
    return scores.masked_fill(left_out, -math.inf)
