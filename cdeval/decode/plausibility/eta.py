"""Eta: p(x) >= min(ε, sqrt(ε) · exp(-entropy)), and always the likeliest.

Hewitt et al. 2022, "Truncation Sampling as Language Model Desmoothing".
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cdeval.config.plausibility import RULES
from cdeval.decode.plausibility.entropy import entropy
from cdeval.decode.plausibility.own import OwnRule, each


def unlikely(
    log_p: Float[Tensor, "lane beam token"], epsilon: Float[Tensor, "lane 1 1"]
) -> Bool[Tensor, "lane beam token"]:
    """Mark the tokens below the threshold."""
    eta = torch.minimum(epsilon, epsilon.sqrt() * (-entropy(log_p)).exp())
    return (log_p.softmax(dim=-1) < eta) & (log_p < log_p.amax(dim=-1, keepdim=True))


RULES.add(OwnRule("eta", "eta={eta:g}".format_map, unlikely, each("eta")))
