"""A user's own rule of plausibility: a function of the expert's log-probabilities.

@plausibility("near_best", gap=2.0)            # contrast.plausibility=near_best contrast.gap=3
def near_best(log_expert, gap):                # [lane, beam, vocab] nats -> which tokens may be chosen
    return log_expert >= log_expert.amax(-1, keepdim=True) - gap
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from cdeval.config.methods import Origin, declared
from cdeval.config.plausibility import RULES, PlausibilityRule
from cdeval.decode.guard import plugin_errors
from cdeval.decode.lanes import index
from cdeval.errors import ConfigError

C = TypeVar("C", bound=Callable[..., Any])


def plausibility(name: str, **settings: Any) -> Callable[[C], C]:
    """Register a rule: a decorator of a function.

    Args:
        name: that `contrast.plausibility=` takes.
        settings: its own settings by name, with their defaults or what `cdeval.number` makes of default and range.

    Raises: ConfigError: a name is taken, a setting has no default, or the function takes other arguments.
    """

    def decorated(code: C) -> C:
        RULES.add(PluginRule(name, code, settings))
        return code

    return decorated


class PluginRule(PlausibilityRule):
    """A rule of a user's own."""

    def __init__(self, name: str, code: Callable[..., Any], settings: Mapping[str, Any]) -> None:
        """Check what was registered. Raises: ConfigError: as `plausibility`."""
        self.name, self._code = name, code
        self.origin = Origin.from_code(code)
        self.settings = declared(name, settings, self.origin.where)
        taken = list(inspect.signature(code).parameters)
        if set(taken) != {"log_expert", *settings}:
            raise ConfigError(
                f"contrast.plausibility={name} ({self.origin.where}) takes {', '.join(taken) or 'nothing'}: expected "
                f"log_expert{''.join(f', {one}' for one in settings)}."
            )

    def opened(self, lanes: Sequence[Mapping[str, Any]], device: torch.device) -> Callable[[Tensor], Tensor]:
        """Ask the function once for all lanes of equal settings, which it takes as plain numbers."""
        groups = [
            (dict(own), index([place for place, one in enumerate(lanes) if tuple(one.items()) == own], device))
            for own in dict.fromkeys(tuple(one.items()) for one in lanes)
        ]

        def marked(log_expert: Tensor) -> Tensor:
            found = torch.ones_like(log_expert, dtype=torch.bool)
            for own, places in groups:
                found = found.index_copy(0, places, ~self._plausible(log_expert[places], own))
            return found

        return marked

    def _plausible(self, log_expert: Tensor, settings: Mapping[str, Any]) -> Tensor:
        with plugin_errors(self, RULES.setting):
            found: object = self._code(log_expert=log_expert, **settings)
        if not isinstance(found, Tensor) or found.dtype is not torch.bool or found.shape != log_expert.shape:
            got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise self.failure(
                RULES.setting, f"returned {got}: expected truth values (torch.bool) of shape {list(log_expert.shape)}"
            )
        return found
