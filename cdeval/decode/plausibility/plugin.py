"""A user's own rule of plausibility: a function of the expert's log-probabilities.

@plausibility("near_best", gap=2.0)            # contrast.plausibility=near_best contrast.gap=3
def near_best(log_expert, gap):                # [lane, beam, vocab] nats -> which tokens may be chosen
return log_expert >= log_expert.amax(-1, keepdim=True) - gap
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from cdeval.config.methods import Origin, declared
from cdeval.config.plausibility import RULES, PlausibilityRule
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
        self.origin = Origin.of_code(code)
        self.settings = declared(name, settings, self.origin.where)
        taken = list(inspect.signature(code).parameters)
        if set(taken) != {"log_expert", *settings}:
            raise ConfigError(
                f"contrast.plausibility={name} ({self.origin.where}) takes {', '.join(taken) or 'nothing'}: expected "
                f"log_expert{''.join(f', {one}' for one in settings)}."
            )

    def plausible(self, log_expert: Any, **settings: Any) -> Any:
        """Call the function."""
        return self._code(log_expert=log_expert, **settings)
