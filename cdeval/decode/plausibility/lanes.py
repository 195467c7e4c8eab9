"""Rules of plausibility over the lanes of a batch, which may have different ones."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cdeval.config.plausibility import ALPHA, RULES, Plausibility
from cdeval.decode.guard import plugin_errors


def outside(
    log_expert: Float[Tensor, "lane beam vocab"],
    implausible: Bool[Tensor, "lane beam vocab"],
    rules: Sequence[Plausibility],
) -> Bool[Tensor, "lane beam vocab"]:
    """Mark the implausible tokens, given those by the alpha rule; `rules` has one a lane.

    The likeliest token of each row is plausible whatever its rule says, and an impossible one is not. A row of NaN has
    no likeliest token: it stays as it is, so that it comes to be seen.

    Raises: ModelError: a rule raises an exception, or returns anything but a mask.
    """
    for rule in dict.fromkeys(rules):
        if rule == ALPHA:
            continue
        lanes = torch.tensor([lane for lane, one in enumerate(rules) if one == rule], device=log_expert.device)
        rows = log_expert[lanes]
        plausible = _mask(rows, rule) & (rows > -torch.inf)
        implausible = implausible.index_copy(0, lanes, (rows < rows.amax(dim=-1, keepdim=True)) & ~plausible)
    return implausible


def _mask(log_expert: Float[Tensor, "lane beam vocab"], rule: Plausibility) -> Bool[Tensor, "lane beam vocab"]:
    method = RULES[rule.rule]
    with plugin_errors(method, RULES.setting):
        found: object = method.plausible(log_expert.clone(), **dict(rule.settings))
    if not isinstance(found, Tensor) or found.dtype is not torch.bool or found.shape != log_expert.shape:
        got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise method.failure(
            RULES.setting, f"returned {got}: expected truth values (torch.bool) of shape {list(log_expert.shape)}"
        )
    return found
