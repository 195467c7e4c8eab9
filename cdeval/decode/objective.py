r"""The contrastive objective: pure functions, float32, per lane.

    V_head = { x : log p_e(x) >= max log p_e + ln alpha }
    score  = log p_e(x) - beta * log p_a(x; T)   on V_head,  -inf elsewhere                              [nats]

Li et al. 2022, "Contrastive Decoding", section 3.2-3.3. The amateur's temperature enters in one of two forms:

    softmax:  log p_a(x; T) = log softmax(z_a / T)      (re-normalised)
    logprob:  log p_a(x; T) = log softmax(z_a) / T      (as the authors' code does)

Its softmax goes over the vocabulary, or over V_head alone (`Normalizer.candidates`).

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

from cdeval.config import Normalizer, TemperatureForm
from cdeval.records import Setting

# Tokens a beam whose amateur logits the candidate-only head works out. Plausible sets are rarely wider; where one is,
# the batch is decoded again with the full head.
CANDIDATES = 64


class Knobs(NamedTuple):
    """The objective's settings, one value a lane, shaped to broadcast over beams and vocabulary.

    Both temperature forms are one expression, log p_a(x; T) = outer * log softmax(z_a / inner): the softmax form has
    inner = T and outer = 1, the logprob form inner = 1 and outer = 1 / T.
    """

    log_alpha: Float[Tensor, "lane 1 1"]
    inner: Float[Tensor, "lane 1 1"]
    weight: Float[Tensor, "lane 1 1"]  # beta * outer
    over_candidates: Bool[Tensor, "lane 1 1"] | None  # the amateur is normalised over V_head; None: nowhere

    def of(self, rows: slice | Int[Tensor, " lane"]) -> "Knobs":
        """Those of some lanes."""
        over = self.over_candidates
        return Knobs(
            self.log_alpha[rows],
            self.inner[rows],
            self.weight[rows],
            over_candidates=None if over is None else over[rows],
        )


def knobs(settings: Sequence[Setting], device: torch.device) -> Knobs:
    """Stack the settings of the lanes."""

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]

    over = [setting.normalizer is Normalizer.candidates for setting in settings]
    renormalised = [setting.temperature_form is TemperatureForm.softmax for setting in settings]
    pairs = list(zip(settings, renormalised, strict=True))
    return Knobs(
        log_alpha=column([math.log(setting.alpha) for setting in settings]),
        inner=column([float(setting.temperature) if softmax else 1.0 for setting, softmax in pairs]),
        weight=column([setting.beta / (1.0 if softmax else setting.temperature) for setting, softmax in pairs]),
        over_candidates=torch.tensor(over, device=device)[:, None, None] if any(over) else None,
    )


def log_probs(logits: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows vocab"]:
    """Log-softmax in float32, whatever the logits are."""
    return torch.log_softmax(logits, dim=-1, dtype=torch.float32)


def ban(log_expert: Float[Tensor, "*rows vocab"], banned: Int[Tensor, " banned"]) -> Float[Tensor, "*rows vocab"]:
    """The expert's log-probabilities with the banned tokens at -inf, not re-normalised; changes its argument."""
    return log_expert.index_fill_(-1, banned, -math.inf)


def contrast(
    log_expert: Float[Tensor, "lane beam vocab"], amateur_logits: Float[Tensor, "lane beam vocab"], knobs: Knobs
) -> Float[Tensor, "lane beam vocab"]:
    """Score each next token by how much the expert prefers it over the amateur [nats].

    Args:
        log_expert: log-probabilities, banned tokens at -inf, so never plausible. Of the whole vocabulary, or, where
            every lane is normalised over V_head, of any tokens that V_head is among.
        amateur_logits: raw logits of the same tokens, any float dtype.
        knobs: one setting a lane.
    """
    implausible = log_expert < log_expert.amax(dim=-1, keepdim=True) + knobs.log_alpha
    logits = amateur_logits.float() / knobs.inner
    if knobs.over_candidates is not None:
        logits = logits.masked_fill_(implausible & knobs.over_candidates, -math.inf)
    scores = log_probs(logits).mul_(-knobs.weight).add_(log_expert)
    return scores.masked_fill_(implausible, -math.inf)
