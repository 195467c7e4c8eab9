"""Min-p: p(x) >= min_p * max p (Nguyen et al. 2024, "Turning Up the Heat").

It is the alpha rule of contrastive decoding (`alpha.threshold`), named and published again for sampling.
"""

import math

from jaxtyping import Bool, Float
from torch import Tensor

from cdeval.config.plausibility import RULES
from cdeval.decode.plausibility.alpha import threshold
from cdeval.decode.plausibility.own import OwnRule, each


def unlikely(
    log_p: Float[Tensor, "lane beam token"], log_min_p: Float[Tensor, "lane 1 1"]
) -> Bool[Tensor, "lane beam token"]:
    """Mark the tokens below the threshold."""
    return log_p < threshold(log_p, log_min_p)


RULES.add(OwnRule("min_p", "min-p={min_p:g}".format_map, unlikely, each("min_p", math.log)))
