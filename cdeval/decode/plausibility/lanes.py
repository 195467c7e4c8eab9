"""Rules of plausibility over the lanes of a batch, which may have different ones."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cdeval.config.plausibility import ALPHA, RULES, Plausibility
from cdeval.decode.lanes import index


class LaneRules:
    """The rules of some lanes, one a lane; each rule is asked once a step for all lanes that have it."""

    def __init__(self, rules: Sequence[Plausibility], device: torch.device) -> None:
        # Lanes of a rule (None: all), what it marks in their rows, and whether it keeps the likeliest token.
        self._groups: list[tuple[Int[Tensor, " lane"] | None, Callable[[Tensor], Tensor], bool]] = []
        for name in dict.fromkeys(one.rule for one in rules if one != ALPHA):
            places = [place for place, one in enumerate(rules) if one.rule == name]
            marked = RULES[name].opened([dict(rules[place].settings) for place in places], device)
            lanes = None if len(places) == len(rules) else index(places, device)
            self._groups.append((lanes, marked, RULES[name].keeps_likeliest))

    def outside(
        self, log_expert: Float[Tensor, "lane beam vocab"], implausible: Bool[Tensor, "lane beam vocab"]
    ) -> Bool[Tensor, "lane beam vocab"]:
        """Mark the implausible tokens, given those by the alpha rule.

        An impossible token is never plausible, and the likeliest always is, but for rules that may leave it out. A row
        of NaN has no likeliest token: it stays as it is, so that it comes to be seen.

        Raises: ModelError: a plug-in's rule raises an exception, or returns anything but a mask.
        """
        for lanes, marked, keeps_likeliest in self._groups:
            rows = log_expert if lanes is None else log_expert[lanes]
            found = marked(rows) | (rows == -torch.inf)
            if keeps_likeliest:
                found &= rows < rows.amax(dim=-1, keepdim=True)
            implausible = found if lanes is None else implausible.index_copy(0, lanes, found)
        return implausible
