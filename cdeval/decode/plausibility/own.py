"""Rules of cdeval's own: each is a pure function of log-probabilities and of what its lanes' settings come to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cdeval.config.methods import Values
from cdeval.config.plausibility import PlausibilityRule
from cdeval.config.rules import settings_of
from cdeval.decode.lanes import column

Own = Mapping[str, Any]  # a lane's settings of the rule by name


class OwnRule(PlausibilityRule):
    """A rule by its function, which the warper of the same name calls, too (`cdeval.decode.warping`)."""

    def __init__(
        self,
        name: str,
        label: Callable[[Own], str],
        marked: Callable[[Tensor, Any], Tensor],
        stack: Callable[[Sequence[Own], torch.device], Any],
        *,
        keeps_likeliest: bool = True,
    ) -> None:
        """Take what tells the rule from others.

        Args:
            name: that `contrast.plausibility=` takes; its settings are those of `cdeval.config.rules`.
            label: names it for readers.
            marked: which tokens are implausible, by log-probabilities and by what `stack` makes.
            stack: makes of the lanes' settings, once a batch, what `marked` takes at every step.
            keeps_likeliest: whether the likeliest token is plausible by definition.
        """
        self.name, self.settings, self.keeps_likeliest = name, settings_of(name), keeps_likeliest
        self._label, self._marked, self._stack = label, marked, stack

    def opened(self, lanes: Sequence[Own], device: torch.device) -> Callable[[Tensor], Tensor]:
        """Prepare the rule, as `PlausibilityRule.opened` says."""
        stacked = self._stack(lanes, device)
        return lambda log_p: self._marked(log_p, stacked)

    def label(self, settings: Values) -> str:
        """Name the rule for readers."""
        return self._label(dict(settings))


def each(name: str, as_used: Callable[[float], float] = float) -> Callable[[Sequence[Own], torch.device], Tensor]:
    """Stack one number of each lane, as the rule uses it."""
    return lambda lanes, device: column([as_used(one[name]) for one in lanes], device)
