r"""The contrastive objective: pure functions, float32, per lane.

    V_head = { x : log p_e(x) >= max log p_e + ln alpha }
    score  = log p_e(x) - beta * log p_a(x; T)   on V_head,  -inf elsewhere                              [nats]

Li et al. 2022, "Contrastive Decoding", section 3.2-3.3. The amateur's temperature enters in one of two forms:

    softmax:  log p_a(x; T) = log softmax(z_a / T)      (re-normalised)
    logprob:  log p_a(x; T) = log softmax(z_a) / T      (as the authors' code does)

Banned tokens (end of text, chat markers) are set to -inf in the expert's log-probabilities after the log-softmax and
before the mask; the amateur's distribution keeps them. `log_softmax` in float32, never the log of a softmax: a
probability that underflows would turn every plausible token into NaN.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cdeval.config import TemperatureForm
from cdeval.records import Setting


class Knobs(NamedTuple):
    """The objective's settings, one value a lane, shaped to broadcast over beams and vocabulary."""

    log_alpha: Float[Tensor, "lane 1 1"]
    beta: Float[Tensor, "lane 1 1"]
    temperature: Float[Tensor, "lane 1 1"]
    renormalised: Bool[Tensor, "lane 1 1"]  # the softmax form


def knobs(settings: Sequence[Setting], device: torch.device) -> Knobs:
    """Stack the settings of the lanes."""

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]

    return Knobs(
        log_alpha=column([math.log(setting.alpha) for setting in settings]),
        beta=column([float(setting.beta) for setting in settings]),
        temperature=column([float(setting.temperature) for setting in settings]),
        renormalised=column(
            [float(setting.temperature_form is TemperatureForm.softmax) for setting in settings]
        ).bool(),
    )


def log_probs(logits: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows vocab"]:
    """Log-softmax in float32, whatever the logits are."""
    return torch.log_softmax(logits.float(), dim=-1)


def ban(log_expert: Float[Tensor, "*rows vocab"], banned: Int[Tensor, " banned"]) -> Float[Tensor, "*rows vocab"]:
    """The expert's log-probabilities with the banned tokens at -inf, not re-normalised; changes its argument."""
    return log_expert.index_fill_(-1, banned, -math.inf)


def amateur_log_probs(
    logits: Float[Tensor, "lane beam vocab"],
    temperature: Float[Tensor, "lane 1 1"],
    renormalised: Bool[Tensor, "lane 1 1"],
) -> Float[Tensor, "lane beam vocab"]:
    """The amateur at temperature T, in either form: they differ by the log-sum-exp of log softmax(z) / T."""
    scaled = log_probs(logits).div_(temperature)
    normaliser = torch.logsumexp(scaled, dim=-1, keepdim=True)
    return scaled.sub_(normaliser * renormalised)


def plausible(
    log_expert: Float[Tensor, "lane beam vocab"], log_alpha: Float[Tensor, "lane 1 1"]
) -> Bool[Tensor, "lane beam vocab"]:
    """V_head: the tokens at least alpha times as probable as the expert's best one."""
    return log_expert >= log_expert.amax(dim=-1, keepdim=True) + log_alpha


def contrast(
    log_expert: Float[Tensor, "lane beam vocab"], amateur_logits: Float[Tensor, "lane beam vocab"], knobs: Knobs
) -> Float[Tensor, "lane beam vocab"]:
    """Score each next token by how much the expert prefers it over the amateur [nats].

    Args:
        log_expert: log-probabilities, banned tokens at -inf, so never plausible.
        amateur_logits: raw logits, any float dtype.
        knobs: one setting a lane.
    """
    log_amateur = amateur_log_probs(amateur_logits, knobs.temperature, knobs.renormalised)
    scores = log_expert - knobs.beta * log_amateur
    return scores.masked_fill_(~plausible(log_expert, knobs.log_alpha), -math.inf)
