"""The amateur's weight at each token, of lanes that may have different ones (`cdeval.config.token_weight`).

    β_t = β                       weight=constant
    β_t = min(β H(p_e), most)     weight=entropy
    β_t = 0                       where the gate is closed

A gate of the user's is a callable of both models' views of a step, which says at which rows something is subtracted:

    def unsure(log_expert, amateur_logits):     # [lane, beam, vocab] each; contrast.gate_call={_target_:mine.unsure}
        return log_expert.amax(-1) < -0.7       # [lane, beam], torch.bool

H is the entropy of the expert's tokens that may be said, re-normalised, in nats, before any of them is cut or masked.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cdeval.config.fields import shown
from cdeval.config.schema import ContrastConfig
from cdeval.config.setting import Setting
from cdeval.config.targets import TARGET, lent
from cdeval.config.token_weight import CONSTANT, GATE_CALL, Gate, TokenWeight, Weight, gate_of
from cdeval.decode.guard import is_out_of_memory
from cdeval.decode.lanes import column, index
from cdeval.decode.plausibility.entropy import entropy
from cdeval.errors import CdevalError, ConfigError, ModelError, one_line

CallableGate: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # of log_expert and amateur_logits


class _Call(NamedTuple):
    """A callable gate, and the lanes that have it."""

    name: str
    opens: CallableGate
    lanes: Int[Tensor, " lane"]

    def at(
        self, log_expert: Float[Tensor, "lane beam vocab"], amateur_logits: Float[Tensor, "lane beam vocab"]
    ) -> Bool[Tensor, "own beam 1"]:
        """Ask it, of its own lanes. Raises: ModelError: it raised an exception, or said something else."""
        own = log_expert[self.lanes], amateur_logits[self.lanes].float()
        shape = own[0].shape[:2]
        try:
            found: object = self.opens(*own)
        except Exception as error:  # whatever a user's code raises
            if isinstance(error, CdevalError) or is_out_of_memory(error):
                raise
            raise ModelError(f"{GATE_CALL}: {self.name} raised {type(error).__name__}: {one_line(error)}.") from error
        if not isinstance(found, Tensor) or found.dtype is not torch.bool or found.shape != shape:
            got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ModelError(
                f"{GATE_CALL}: {self.name} returned {got}: expected truth values (torch.bool) of shape {list(shape)}."
            )
        return found[..., None]


class TokenWeights(NamedTuple):
    """Settings of the lanes, shaped to broadcast over beams and vocabulary."""

    beta: Float[Tensor, "lane 1 1"]
    by_entropy: Bool[Tensor, "lane 1 1"]
    most: Float[Tensor, "lane 1 1"]
    above: Float[Tensor, "lane 1 1"]  # entropy at which the gate opens; minus infinity: it is open anyway
    agreeing: Bool[Tensor, "lane 1 1"]  # the gate opens where both have the same likeliest token
    calls: Sequence[_Call]  # gates of the user's

    def at(
        self, log_expert: Float[Tensor, "lane beam vocab"], amateur_logits: Float[Tensor, "lane beam vocab"]
    ) -> Float[Tensor, "lane beam 1"]:
        """Weigh the amateur at one step. Args: log_expert: log-probabilities, banned tokens at -inf."""
        own = entropy(log_expert)
        beta = torch.where(self.by_entropy, torch.minimum(self.beta * own, self.most), self.beta)
        possible = amateur_logits.masked_fill(log_expert == -math.inf, -math.inf)
        same = possible.argmax(dim=-1, keepdim=True) == log_expert.argmax(dim=-1, keepdim=True)
        opened = (own > self.above) & (same | ~self.agreeing)
        for call in self.calls:
            opened = opened.index_copy(0, call.lanes, call.at(log_expert, amateur_logits))
        return beta * opened


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
        calls=[_call(text, own, device) for text in dict.fromkeys(one.call for one in own if one.call)],
    )


def _call(text: str, weights: Sequence[TokenWeight], device: torch.device) -> _Call:
    """Open a gate, as a setting writes it, for the lanes that have it."""
    given = json.loads(text)
    lanes = index([place for place, one in enumerate(weights) if one.call == text], device)
    return _Call(str(given[TARGET]).rpartition(".")[2], gate_of(given), lanes)


@contextmanager
def gate_lent(code: object, contrast: Any) -> Iterator[Any]:
    """Make settings whose gate is a callable of a Python caller's, inside the `with` block.

    Args:
        code: the callable; None: the gate is the one that the settings name.
        contrast: the other settings, a `ContrastConfig`; None: the usual ones.

    Raises: ConfigError: it is no callable, or the settings name another gate.
    """
    if code is None or not isinstance(contrast, ContrastConfig | None):
        yield contrast  # of anything else the check of all arguments says what is wrong with it
        return
    if not callable(code):
        raise ConfigError(
            f"gate={code!r}: expected a callable of log_expert and amateur_logits. A gate by its name is "
            "contrast=Contrast(gate='agreement')."
        )
    settings = contrast or ContrastConfig()
    if settings.gate is not Gate.always:
        raise ConfigError(f"gate and contrast.gate={shown(settings.gate)} are two gates: leave one out.")
    with lent(code) as call:
        yield replace(settings, gate=Gate.callable, gate_call=call)
