"""P-less: p(x) >= Σ p², which has no setting (Tan, Wu & Howard 2025, "p-less Sampling", arXiv 2509.23234).

Σ p² is the probability that two draws are equal. The relaxed variant p-less-norm keeps

    p(x) >= (v Σ p² - 1) / (v - 1),      v tokens

Both follow the formulas of the authors' code. p and v are those of the tokens that may be said, re-normalised: the
authors' code has v the whole vocabulary, because nothing is banned there.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cdeval.config.plausibility import RULES
from cdeval.decode.plausibility.own import OwnRule, each


def unlikely(
    log_p: Float[Tensor, "lane beam token"], relaxed: Float[Tensor, "lane 1 1"]
) -> Bool[Tensor, "lane beam token"]:
    """Mark the tokens below the threshold; lanes whose `relaxed` is 1 have that of p-less-norm."""
    p = log_p.softmax(dim=-1)
    equal = p.square().sum(dim=-1, keepdim=True)
    tokens = (log_p > -torch.inf).sum(dim=-1, keepdim=True)
    return p < torch.where(relaxed > 0, (tokens * equal - 1) / (tokens - 1).clamp(min=1), equal)


RULES.add(
    OwnRule("p_less", lambda own: "p-less-norm" if own["p_less_norm"] else "p-less", unlikely, each("p_less_norm"))
)
