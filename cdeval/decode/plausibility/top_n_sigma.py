"""Top-nσ: z(x) >= max z - n * σ(z), with z the logits.

Tang et al. 2025, "Top-nσ: Eliminating Noise in Logit Space", arXiv 2411.07641; llama.cpp's pull request 11223. A
log-probability is a logit less a number that is the same for all tokens, so both have the same distances and the same
σ. Thus the rule is the alpha rule with α = exp(-nσ), which changes at every step.

σ is taken over the tokens that may be said, as in llama.cpp: a banned one has no logit. It is the root of the mean
square, as in the paper and in llama.cpp; the authors' code divides by one less than the number of tokens, and keeps a
token only where it is above the threshold, which differ by less than rounding for a whole vocabulary.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cdeval.config.plausibility import RULES
from cdeval.decode.plausibility.alpha import threshold
from cdeval.decode.plausibility.own import OwnRule, each


def deviation(log_p: Float[Tensor, "lane beam token"]) -> Float[Tensor, "lane beam 1"]:
    """The standard deviation of a row's logits, over its possible tokens [nats]."""
    impossible = log_p == -torch.inf
    count = impossible.logical_not().sum(dim=-1, keepdim=True)
    mean = log_p.masked_fill(impossible, 0.0).sum(dim=-1, keepdim=True) / count
    squares = (log_p - mean).square().masked_fill(impossible, 0.0)
    return (squares.sum(dim=-1, keepdim=True) / count).sqrt()


def unlikely(log_p: Float[Tensor, "lane beam token"], n: Float[Tensor, "lane 1 1"]) -> Bool[Tensor, "lane beam token"]:
    """Mark the tokens more than n standard deviations below the likeliest."""
    return log_p < threshold(log_p, -n * deviation(log_p))


RULES.add(OwnRule("top_n_sigma", "top-nσ={n_sigma:g}".format_map, unlikely, each("n_sigma")))
