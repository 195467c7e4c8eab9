"""Lanes with numbers that no token can be chosen by: noted on the device, and read with the answers.

Probabilities are sound as long as no logit is NaN or +inf and some token is left: -inf alone says that a token is
impossible, as models say of the rows that pad their vocabulary. NaN and +inf survive the log-softmax, the contrast and
the choice of the largest score, so what a step chooses shows them, and the whole vocabulary need not be looked at:

    log p_e of the best extension is NaN         a logit of the expert is NaN or +inf, or all are -inf
    log p_e of the best extension is -inf        every token that is possible is banned
    its total is NaN or +inf, log p_e is finite  the contrast: the amateur's logits, or a plausible token it rules out

A lane's first such step is kept; what the lane writes afterwards means nothing, and other lanes do not feel it.
"""

from enum import IntEnum
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cdeval.config.amateur import kind_of
from cdeval.config.setting import Setting
from cdeval.decode.steps import Step
from cdeval.errors import ModelError
from cdeval.models.loading import LanguageModel


class Cause(IntEnum):
    """The origin of the numbers."""

    expert = 0
    banned = 1
    contrast = 2


class Fault(NamedTuple):
    """Why a lane has no text."""

    step: int  # tokens chosen before
    cause: Cause


class Faults:
    """The first fault of every lane of a batch."""

    state = ("_codes",)

    def __init__(self, lanes: int, device: torch.device) -> None:
        self._codes: Int[Tensor, " lane"] = torch.full((lanes,), -1, dtype=torch.long, device=device)

    @property
    def any_of(self) -> Bool[Tensor, " lane"]:
        """A mask of the lanes that have a fault, on the device."""
        return self._codes >= 0

    def note(
        self,
        step: Step,
        total: Float[Tensor, " lane"],
        log_expert: Float[Tensor, " lane"],
        decided: Bool[Tensor, " lane"] | None,
    ) -> Bool[Tensor, " lane"]:
        """Look at the best extension of every lane; returns which cannot be gone on with.

        Args:
            step: tokens chosen before.
            total: accumulated score of the extension.
            log_expert: the expert's log-probability of its token.
            decided: lanes whose answer was known before, and which only run along; None: there are none.
        """
        bad = ~(total < torch.inf) | ~log_expert.isfinite()
        fresh = bad & (self._codes < 0)
        if decided is not None:
            fresh &= ~decided
        # No number stands in a `where`: it would be sent to the device as a tensor, for which the host waits.
        cause = torch.full_like(self._codes, int(Cause.contrast)).masked_fill_(log_expert.isnan(), int(Cause.expert))
        cause.masked_fill_(log_expert == -torch.inf, int(Cause.banned))
        self._codes = torch.where(fresh, step * len(Cause) + cause, self._codes)
        return bad

    def read(self) -> list[Fault | None]:
        """The lanes' faults, on the host."""
        return [
            None if code < 0 else Fault(code // len(Cause), Cause(code % len(Cause))) for code in self._codes.tolist()
        ]


def not_finite(fault: Fault, expert: LanguageModel, prompt: str, setting: Setting) -> ModelError:
    """Make the error that tells a user of a lane's fault."""
    what = {
        Cause.expert: "logits of the expert are NaN or +inf, or leave no token possible",
        Cause.banned: f"every token that is possible is banned (search.ban={setting.ban.name})",
        Cause.contrast: f"scores against the amateur ({_named(setting)}) are NaN or infinite",
    }[fault.cause]
    origin = kind_of(setting.amateur).origin if fault.cause is Cause.contrast else None
    if fault.cause is Cause.banned:
        remedy = "try search.ban=eos or free, or look into the model: its logits are -inf nearly everywhere"
    elif origin is not None:
        remedy = f"look into {origin.where}, whose logits are not finite"
    elif expert.dtype is torch.float32:
        remedy = "float32 holds all that a sound model computes, so look for NaN or inf in the files of its weights"
    else:
        remedy = (
            f"numbers that {expert.dtype_name} cannot hold come out so: try another number format "
            "(expert.dtype=float32, or bfloat16; from Python dtype='float32'), else look for NaN or inf in the weights"
        )
    return ModelError(
        f"{expert.name} in {expert.dtype_name} cannot continue prompt {prompt!r} at new token {fault.step + 1} of "
        f"{setting.max_new_tokens}: {what}. What to do: {remedy}."
    )


def _named(setting: Setting) -> str:
    amateur = setting.amateur
    if not amateur.contrasts:
        return "none"
    if amateur.name is not None:
        return amateur.name
    blocks = ", ".join(map(str, amateur.exits))
    return f"{amateur.kind} after block {blocks}, lens {amateur.lens.name}" if blocks else amateur.kind
