"""The amateur's weight at each token, of lanes that may have different ones (`cdeval.config.token_weight`).

    β_t = β                       weight=constant
    β_t = min(β H(p_e), most)     weight=entropy
    β_t = 0                       where the gate is closed

H is the entropy of the expert's tokens that may be said, re-normalised, in nats, before any of them is cut or masked.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cdeval.config.setting import Setting
from cdeval.config.token_weight import CONSTANT, Gate, Weight
from cdeval.decode.lanes import column
from cdeval.decode.plausibility.entropy import entropy


class TokenWeights(NamedTuple):
    """Settings of the lanes, shaped to broadcast over beams and vocabulary."""

    beta: Float[Tensor, "lane 1 1"]
    by_entropy: Bool[Tensor, "lane 1 1"]
    most: Float[Tensor, "lane 1 1"]
    above: Float[Tensor, "lane 1 1"]  # entropy at which the gate opens; minus infinity: it is open anyway
    agreeing: Bool[Tensor, "lane 1 1"]  # the gate opens where both have the same likeliest token

    def at(
        self, log_expert: Float[Tensor, "lane beam vocab"], amateur_logits: Float[Tensor, "lane beam vocab"]
    ) -> Float[Tensor, "lane beam 1"]:
        """Weigh the amateur at one step. Args: log_expert: log-probabilities, banned tokens at -inf."""
        own = entropy(log_expert)
        beta = torch.where(self.by_entropy, torch.minimum(self.beta * own, self.most), self.beta)
        possible = amateur_logits.masked_fill(log_expert == -math.inf, -math.inf)
        same = possible.argmax(dim=-1, keepdim=True) == log_expert.argmax(dim=-1, keepdim=True)
        return beta * ((own > self.above) & (same | ~self.agreeing))


def token_weights(settings: Sequence[Setting], device: torch.device) -> TokenWeights | None:
    """Stack the settings of the lanes; None: the weight is constant everywhere."""
    own = [setting.token_weight for setting in settings]
    if set(own) <= {CONSTANT}:
        return None

    def flags(values: list[bool]) -> Tensor:
        return torch.tensor(values, device=device)[:, None, None]

    return TokenWeights(
        beta=column([setting.beta for setting in settings], device),
        by_entropy=flags([one.weight is Weight.entropy for one in own]),
        most=column([math.inf if one.most is None else one.most for one in own], device),
        above=column([-math.inf if one.entropy is None else one.entropy for one in own], device),
        agreeing=flags([one.gate is Gate.agreement for one in own]),
    )
