"""The weight of the amateur at a token: the same at all, by the expert's entropy, or at some only."""

from dataclasses import dataclass
from enum import Enum


class Weight(Enum):
    """The rule for how much is subtracted at a token.

    constant: β. entropy: β times the expert's entropy at the token in nats, and at most `contrast.weight_most`
    (Gema et al. 2024, DeCoRe).
    """

    constant = "constant"
    entropy = "entropy"


class Gate(Enum):
    """The tokens at which something is subtracted; elsewhere the expert alone scores the plausible tokens.

    always: at every token. entropy: where the expert's entropy is above `contrast.gate_entropy`. agreement: where the
    amateur's likeliest token is the expert's likeliest, among those that may be said.
    """

    always = "always"
    entropy = "entropy"
    agreement = "agreement"


@dataclass(frozen=True, slots=True)
class TokenWeight:
    """The weight of a token, beside β; what is not read has its default."""

    weight: Weight = Weight.constant
    most: float | None = None  # of weight=entropy; None: as much as it is
    gate: Gate = Gate.always
    entropy: float | None = None  # of gate=entropy [nats]


CONSTANT = TokenWeight()
