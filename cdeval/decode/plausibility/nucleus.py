"""The nucleus: the fewest tokens, likeliest first, that hold at least the mass p (Holtzman et al. 2020).

"The Curious Case of Neural Text Degeneration". Of tokens that tie at its edge some are left out, in the
order of the sort, as in transformers.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from cdeval.config.plausibility import RULES
from cdeval.decode.plausibility.own import OwnRule, each


def outside(
    log_p: Float[Tensor, "lane beam token"], above: Float[Tensor, "lane 1 1"]
) -> Bool[Tensor, "lane beam token"]:
    """Mark the tokens that go when the smallest ones, up to a mass of `above` = 1 - p, go."""
    ordered, places = log_p.sort(dim=-1)
    marked = ordered.softmax(dim=-1).cumsum(dim=-1) <= above
    marked[..., -1] = False
    return marked.scatter(-1, places, marked)


RULES.add(OwnRule("nucleus", "nucleus p={top_p:g}".format_map, outside, each("top_p", lambda p: 1 - p)))
