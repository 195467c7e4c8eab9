"""The locally typical tokens: those whose surprisal is closest to the entropy, until they hold the mass.

Meister et al. 2022, "Locally Typical Sampling". The likeliest token may be too likely to be typical, and is
then implausible: no other rule of cdeval leaves it out.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from cdeval.config.plausibility import RULES
from cdeval.decode.plausibility.entropy import entropy
from cdeval.decode.plausibility.own import OwnRule, each


def untypical(
    log_p: Float[Tensor, "lane beam token"], mass: Float[Tensor, "lane 1 1"]
) -> Bool[Tensor, "lane beam token"]:
    """Mark the tokens whose surprisal is further from the entropy than that of those which hold the mass."""
    distance = (-log_p.log_softmax(dim=-1) - entropy(log_p)).abs()
    ordered, places = distance.sort(dim=-1)
    held = log_p.gather(-1, places).softmax(dim=-1).cumsum(dim=-1)
    last = (held < mass).sum(dim=-1, keepdim=True).clamp(max=log_p.shape[-1] - 1)
    return distance > ordered.gather(-1, last)


RULES.add(OwnRule("typical", "typical={typical_p:g}".format_map, untypical, each("typical_p"), keeps_likeliest=False))
