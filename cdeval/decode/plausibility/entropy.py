"""The entropy that several rules compare with."""

from jaxtyping import Float
from torch import Tensor


def entropy(log_p: Float[Tensor, "lane beam token"]) -> Float[Tensor, "lane beam 1"]:
    """The entropy of each row, re-normalised [nats]; an impossible token's 0 · -inf is NaN, and counts as 0."""
    log_p = log_p.log_softmax(dim=-1)
    return -(log_p * log_p.exp()).nansum(dim=-1, keepdim=True)
