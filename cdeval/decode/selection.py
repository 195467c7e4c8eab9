r"""Which early exit is the amateur of a token: pure functions, float32, per lane and beam.

jsd (DoLa, Chuang et al. 2023, section 2): the candidate furthest from the expert,

    k = arg max JSD(p_e, p_k),     JSD(p, q) = ½ KL(p || m) + ½ KL(q || m),   m = (p + q) / 2,   in [0, ln 2] nats

confidence (CALM, Schuster et al. 2022, section 3): the first candidate that is sure enough, the last one if none is,

    c_k >= λ'(t) = clip(0.9 λ + 0.1 exp(-τ t / N), 0, 1),   τ = 4,   t = 0, 1, ... of N = max_new_tokens
    softmax:     c_k = largest - second largest probability
    saturation:  c_k = cos(h_k, h_{k-1}), outputs of block k and of the block before; 0 for k = 1, which has none before

Distributions are those of the whole vocabulary at temperature 1, before any ban: what is chosen does not depend on how
it is contrasted. The code that CALM's authors published (t5x, contrib/calm) decays λ (0.9 + 0.1 exp(-τ t / N)) instead;
this follows the paper.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cdeval.config.exits import DECAY
from cdeval.decode.beam import largest


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
    """How sure an exit must be at each step, falling along the text; `decay` is τ."""
    decayed = (0.9 * threshold + 0.1 * math.exp(-decay * step / steps) for step in range(steps))
    return [min(max(value, 0.0), 1.0) for value in decayed]


def first_sure(
    confidence: Float[Tensor, "lane candidate beam"], threshold: Float[Tensor, " lane"]
) -> Int[Tensor, "lane beam"]:
    """The first candidate that reaches the threshold, or the last one; one that is NaN is taken, so that it shows."""
    sure = ~(confidence < threshold[:, None, None])
    sure[:, -1] = True
    return sure.to(torch.uint8).argmax(dim=1)  # of equal ones the first
