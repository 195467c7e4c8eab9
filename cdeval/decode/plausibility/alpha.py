"""Adaptive plausibility: p_e(x) >= alpha * max p_e (Li et al. 2022, "Contrastive Decoding", section 3.3)."""

from jaxtyping import Float
from torch import Tensor

from cdeval.config.plausibility import ALPHA, RULES, PlausibilityRule


def threshold(
    log_expert: Float[Tensor, "lane beam vocab"], log_alpha: Float[Tensor, "lane #beam 1"]
) -> Float[Tensor, "lane beam 1"]:
    """The least log-probability of a plausible token [nats]; lanes may have different alphas."""
    return log_expert.amax(dim=-1, keepdim=True) + log_alpha


class Alpha(PlausibilityRule):
    """The rule of `contrast.alpha`, which the objective applies itself (`threshold`): it is the usual one."""

    name = ALPHA.rule


RULES.add(Alpha())
