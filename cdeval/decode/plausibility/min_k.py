"""Min-k: cut at the cliff of the sorted logits (Ding et al. 2026, "Min-k Sampling", arXiv 2604.11012, Algorithm 1).

    z_1 >= z_2 >= ... >= z_v,   R = z_1 - z_v
    cliff = the i with the largest (z_i - z_{i+1}) / R / i
    k     = max(cliff, floor(τ / R))

and the k likeliest tokens are kept, with what ties with the k-th. τ keeps more than one token where the distribution is
nearly flat. As written down in a pull request to vLLM (48142), which is where the published algorithm was read; it adds
1e-8 to R, as here. Divided by R or not, the cliff is in the same place.

Differences of log-probabilities are those of logits. z_v is the smallest among the tokens that may be said.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cdeval.config.plausibility import RULES
from cdeval.decode.plausibility.own import OwnRule, each

_NO_RANGE = 1e-8  # added to R, which is 0 where all tokens are equally likely


def below_cliff(
    log_p: Float[Tensor, "lane beam token"], tau: Float[Tensor, "lane 1 1"]
) -> Bool[Tensor, "lane beam token"]:
    """Mark the tokens after the cliff."""
    ordered = log_p.sort(dim=-1, descending=True).values
    possible = ordered > -torch.inf
    count = possible.sum(dim=-1, keepdim=True).clamp(min=1)
    span = ordered[..., :1] - ordered.gather(-1, count - 1) + _NO_RANGE
    # A step down to an impossible token is no cliff.
    drops = (ordered[..., :-1] - ordered[..., 1:]).masked_fill(~possible[..., 1:], 0.0)
    cliff = (drops / torch.arange(1, log_p.shape[-1], device=log_p.device)).argmax(dim=-1, keepdim=True) + 1
    least = (tau / span).clamp(max=log_p.shape[-1]).long()
    return log_p < ordered.gather(-1, torch.minimum(torch.maximum(cliff, least), count) - 1)


RULES.add(OwnRule("min_k", "min-k τ={min_k_tau:g}".format_map, below_cliff, each("min_k_tau")))
