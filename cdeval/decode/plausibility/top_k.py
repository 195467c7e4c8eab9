"""Top-k: the k likeliest tokens, and what ties with the k-th (Fan et al. 2018)."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cdeval.config.plausibility import RULES
from cdeval.decode.beam import Ranks, ranks
from cdeval.decode.plausibility.own import Own, OwnRule


def beyond(log_p: Float[Tensor, "lane beam token"], best: Ranks) -> Bool[Tensor, "lane beam token"]:
    """Mark the tokens after the k likeliest; none in a lane without a rank."""
    return log_p < best.value(log_p, without=-math.inf)


def _ranks(lanes: Sequence[Own], device: torch.device) -> Ranks | None:
    return ranks([one["top_k"] for one in lanes], device)


RULES.add(OwnRule("top_k", "top-k={top_k}".format_map, beyond, _ranks))
