"""The weight of the amateur at a token: the same at all, by the expert's entropy, or at some only."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cdeval.config.fields import only, written_unless_default
from cdeval.config.targets import callable_of
from cdeval.errors import ConfigError, one_line


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
    amateur's likeliest token is the expert's likeliest, among those that may be said. callable: where a callable of the
    user's says so, which `contrast.gate_call` names.
    """

    always = "always"
    entropy = "entropy"
    agreement = "agreement"
    callable = "callable"


@dataclass(kw_only=True)
class GateConfig:
    """The settings of a gate of the user's, which the group `contrast` has beside its own."""

    # The callable that opens the gate, by _target_ (decode.token_weight).
    gate_call: dict[str, Any] = written_unless_default(only("contrast.gate", Gate.callable), factory=dict)


@dataclass(frozen=True, slots=True)
class TokenWeight:
    """The weight of a token, beside β; what is not read has its default."""

    weight: Weight = Weight.constant
    most: float | None = None  # of weight=entropy; None: as much as it is
    gate: Gate = Gate.always
    entropy: float | None = None  # of gate=entropy [nats]
    call: str = ""  # of gate=callable, as `targets.written` writes it


CONSTANT = TokenWeight()
GATE_CALL = "contrast.gate_call"  # the setting that names the callable


def gate_of(call: Mapping[str, Any]) -> Callable[..., Any]:
    """Find the callable of a gate. Raises: ConfigError: it cannot be imported, or takes no two tensors."""
    code = callable_of(call, GATE_CALL)
    try:
        inspect.signature(code).bind(None, None)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{GATE_CALL}: {one_line(error)}: expected a callable of log_expert and amateur_logits, both "
            "[lane, beam, vocab], that returns torch.bool [lane, beam]."
        ) from error
    return code
