"""No rule: every token that may be said may be chosen, as where a contrast was published without a mask (CAD, CFG)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cdeval.config.plausibility import RULES
from cdeval.decode.plausibility.own import OwnRule


def unlikely(log_p: Float[Tensor, "lane beam token"], _lanes: None) -> Bool[Tensor, "lane beam token"]:
    """Mark no token."""
    return torch.zeros_like(log_p, dtype=torch.bool)


RULES.add(OwnRule("all", lambda _own: "all tokens", unlikely, lambda _lanes, _device: None))
