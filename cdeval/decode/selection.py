r"""The choice of the early exit that is the amateur of a token, in float32, for each lane and beam.

jsd (DoLa, Chuang et al. 2023, section 2): the candidate furthest from the expert,

    k = arg max JSD(p_e, p_k),     JSD(p, q) = ½ KL(p || m) + ½ KL(q || m),   m = (p + q) / 2,   in [0, ln 2] nats

confidence (CALM, Schuster et al. 2022, section 3): the first candidate that is sure enough, the last one if none is,

    c_k >= λ'(t) = clip(0.9 λ + 0.1 exp(-τ t / N), 0, 1),   τ = 4,   t = 0, 1, ... of N = max_new_tokens
    softmax:     c_k = largest - second largest probability
    saturation:  c_k = cos(h_k, h_{k-1}), outputs of block k and of the block before; 0 for k = 1, which has none before

sled (Zhang et al. 2024): no layer is chosen. With e_x the distribution that is sure of x, z logits, d_k = z_k - z_e,

    w_k(x) = max(0, cos(p_k - e_x, d_k))²    for each of the expert's likeliest tokens x and each candidate k
    logits = p_e - Σ_k w_k / Σ_k Σ_x w_k     on these tokens, p_e elsewhere

which is the direction that the expert's logits are moved against: z_e - rate (p_e - ...) is log p_e - β log p_a but for
a constant of each prefix, with β the rate and T = 1. One step is taken, as by one of the authors' two implementations;
the other takes ten smaller ones.

Distributions are those of the whole vocabulary at temperature 1, before any ban: what is chosen does not depend on how
it is contrasted. The code that CALM's authors published (t5x, contrib/calm) decays λ (0.9 + 0.1 exp(-τ t / N)) instead;
this follows the paper.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cdeval.config.exits import DECAY
from cdeval.config.setting import Setting
from cdeval.decode.beam import largest
from cdeval.decode.lanes import index
from cdeval.decode.objective import log_probs
from cdeval.decode.steps import Step, at_step

# Ways to choose, in the order of the lanes.
FIXED, BY_STATES, BY_CONFIDENCE, BY_DIVERGENCE, BY_EVOLUTION = range(5)

# Lanes whose distributions are compared together on a CPU: few, for the reason of decode.choosing.LANES_AT_ONCE.
COMPARED_AT_ONCE = 2
_NO_LENGTH = 1e-8  # of a vector without a direction, as torch.nn.functional.cosine_similarity has it


def divergence(log_p: Float[Tensor, "*rows vocab"], log_q: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows"]:
    """The Jensen-Shannon divergence of two distributions given as log-probabilities [nats]."""
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return (_gain(log_p, log_m) + _gain(log_q, log_m)) / 2


def _gain(log_p: Float[Tensor, "*rows vocab"], log_m: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows"]:
    """KL(p || m) [nats]; an impossible token adds nothing, where 0 · (−inf + inf) would be NaN."""
    return (log_p.exp() * (log_p - log_m)).masked_fill_(log_p == -math.inf, 0.0).sum(dim=-1)


def gap(log_q: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows"]:
    """Largest minus second largest probability, in [0, 1]."""
    best = largest(log_q, 2)[0].exp()
    return best[..., 0] - best[..., 1]


def saturation(
    hidden: Float[Tensor, "*rows width"], before: Float[Tensor, "*rows width"] | None
) -> Float[Tensor, "*rows"]:
    """The cosine of two outputs, in [-1, 1]; 0 where there is none before."""
    if before is None:
        return hidden.new_zeros(hidden.shape[:-1], dtype=torch.float32)
    return torch.nn.functional.cosine_similarity(hidden.float(), before.float(), dim=-1)


def thresholds(threshold: float, steps: int, decay: float = DECAY) -> list[float]:
    """Compute how sure an exit must be at each step, falling along the text; `decay` is τ."""
    decayed = (0.9 * threshold + 0.1 * math.exp(-decay * step / steps) for step in range(steps))
    return [min(max(value, 0.0), 1.0) for value in decayed]


def first_sure(
    confidence: Float[Tensor, "lane candidate beam"], threshold: Float[Tensor, " lane"]
) -> Int[Tensor, "lane beam"]:
    """The first candidate that reaches the threshold, or the last one; one that is NaN is taken, so that it shows."""
    sure = ~(confidence < threshold[:, None, None])
    sure[:, -1] = True
    return sure.to(torch.uint8).argmax(dim=1)  # of equal ones the first


def moved_against(
    expert: Float[Tensor, "lane beam vocab"],
    candidates: Iterable[Float[Tensor, "lane beam vocab"]],
    counted: Float[Tensor, "candidate lane 1 1"],
    wanted: Bool[Tensor, "lane 1 token"],
) -> Float[Tensor, "lane beam vocab"]:
    """SLED's direction, as the module says.

    Args:
        expert: logits.
        candidates: logits of each layer.
        counted: 1 where a lane has a candidate there, 0 where it has fewer.
        wanted: which of the likeliest tokens a lane asks about, the likeliest one first.
    """
    z = expert.float()
    width = min(wanted.shape[-1], z.shape[-1])
    top = largest(z, width)[1]
    weights = torch.zeros(top.shape, dtype=torch.float32, device=z.device)
    for logits, share in zip(candidates, counted, strict=True):
        p, d = logits.softmax(dim=-1, dtype=torch.float32), logits.float() - z
        along = (p * d).sum(dim=-1, keepdim=True) - d.gather(-1, top)
        length = (p.square().sum(dim=-1, keepdim=True) - 2 * p.gather(-1, top) + 1).clamp(min=0).sqrt()
        cosine = along / (length * d.norm(dim=-1, keepdim=True)).clamp(min=_NO_LENGTH)
        weights += share * cosine.clamp(min=0).square()
    weights = weights * wanted[..., :width]
    total = weights.sum(dim=-1, keepdim=True)
    shares = torch.where(total > 0, weights / total.clamp(min=torch.finfo(torch.float32).tiny), weights)
    return z.softmax(dim=-1).scatter_add(-1, top, -shares)


class ExitChoice:
    """Lanes that choose in one way; those with fewer candidates than others have their last one several times."""

    def __init__(
        self, way: int, settings: Sequence[Setting], lanes: Sequence[int], start: int, device: torch.device
    ) -> None:
        """`start` is the place of the first candidate of the first lane among the rows that are chosen from."""
        self._way = way
        self._lanes = index(lanes, device)
        exits = [setting.amateur.exits for setting in settings]
        widest = max(map(len, exits))
        self.candidates = sum(map(len, exits))
        rows, layers = [], []
        for candidates in exits:
            rows.append([start + min(place, len(candidates) - 1) for place in range(widest)])
            layers.append([candidates[min(place, len(candidates) - 1)] for place in range(widest)])
            start += len(candidates)
        self._rows = torch.tensor(rows, dtype=torch.long, device=device)
        self._layers = sorted({layer for candidates in exits for layer in candidates})
        places = [[self._layers.index(layer) for layer in candidates] for candidates in layers]
        self._places = torch.tensor(places, dtype=torch.long, device=device)
        own = [len(one) for one in exits]
        counted = [[float(place < count) for count in own] for place in range(widest)]
        self._counted = torch.tensor(counted, device=device)[..., None, None]
        asked = [setting.amateur.sled_tokens or 1 for setting in settings]
        self._wanted = torch.arange(max(asked), device=device) < torch.tensor(asked, device=device)[:, None, None]
        # A value a step and lane, made once: a step sends nothing to the device.
        levels = [thresholds(setting.amateur.threshold or 0.0, setting.max_new_tokens) for setting in settings]
        self._thresholds = torch.tensor(levels, device=device).T
        self._at_once = COMPARED_AT_ONCE if device.type == "cpu" else len(settings)

    @property
    def layers_before(self) -> list[int]:
        """The layers before the candidates, which saturation compares them with."""
        return [layer - 1 for layer in self._layers if layer > 1]

    def by_states(
        self,
        read: Float[Tensor, "read beam width"],
        tapped: Mapping[int, Float[Tensor, "lane beam width"]],
        step: Step,
    ) -> Float[Tensor, "chosen beam width"]:
        """The first saturated candidate of each lane and beam."""
        confidence = torch.stack([saturation(tapped[layer], tapped.get(layer - 1)) for layer in self._layers])
        mine = confidence[self._places, self._lanes[:, None]]
        return _picked(read, self._rows, first_sure(mine, at_step(self._thresholds, step)))

    def by_logits(
        self, of_rows: Float[Tensor, "row beam vocab"], expert: Float[Tensor, "lane beam vocab"], step: Step
    ) -> Float[Tensor, "chosen beam vocab"]:
        """The candidate of each lane and beam that is surest first, or furthest from the expert, or all together."""
        level = at_step(self._thresholds, step)
        chosen = []
        for start in range(0, len(level), self._at_once):
            some = slice(start, start + self._at_once)
            if self._way == BY_EVOLUTION:
                layers = (of_rows[column] for column in self._rows[some].unbind(1))
                own = expert[self._lanes[some]]
                chosen.append(moved_against(own, layers, self._counted[:, some], self._wanted[some]).to(of_rows.dtype))
                continue
            candidates = (log_probs(of_rows[column]) for column in self._rows[some].unbind(1))
            if self._way == BY_CONFIDENCE:
                choice = first_sure(torch.stack([gap(log_q) for log_q in candidates], dim=1), level[some])
            else:
                log_p = log_probs(expert[self._lanes[some]])
                choice = torch.stack([divergence(log_p, log_q) for log_q in candidates], dim=1).argmax(dim=1)
            chosen.append(_picked(of_rows, self._rows[some], choice))
        return torch.cat(chosen)


def _picked(
    values: Float[Tensor, "row beam width"], rows: Int[Tensor, "lane candidate"], choice: Int[Tensor, "lane beam"]
) -> Float[Tensor, "lane beam width"]:
    """Pick for each lane and beam the row of the candidate that it chose."""
    return values[rows.gather(1, choice), torch.arange(choice.shape[1], device=choice.device)]
