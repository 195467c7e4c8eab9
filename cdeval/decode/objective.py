r"""The contrastive objective: pure functions, float32, per lane.

    V_head = { x : log p_e(x) >= max log p_e + ln alpha }, or another rule's (`cdeval.decode.plausibility`)
    score  = log p_e(x) - beta * log p_a(x; T)   on V_head,  -inf elsewhere                              [nats]

Li et al. 2022, "Contrastive Decoding", section 3.2-3.3. The amateur's temperature enters in one of two forms:

    softmax:  log p_a(x; T) = log softmax(z_a / T)      (re-normalised)
    logprob:  log p_a(x; T) = log softmax(z_a) / T      (as the authors' code does)

Its softmax goes over the vocabulary, or over V_head alone (`Normalizer.candidates`). Other published ways to write the
contrast are in `Form`; the expert may be cut to its best tokens before the mask (`cut`), as the authors' code does. The
weight may differ from token to token (`cdeval.decode.token_weight`).

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

from cdeval.config.enums import Form, Normalizer, TemperatureForm
from cdeval.config.plausibility import ALPHA
from cdeval.config.setting import Setting
from cdeval.decode.beam import Ranks, ranks
from cdeval.decode.lanes import column
from cdeval.decode.plausibility.alpha import threshold
from cdeval.decode.plausibility.lanes import LaneRules
from cdeval.decode.token_weight import TokenWeights, token_weights

# Tokens a beam whose amateur logits the candidate-only head works out. Where a plausible set is wider, as many more as
# it takes (`cdeval.decode.engine`).
CANDIDATES = 64


class ObjectiveSettings(NamedTuple):
    """The objective's settings, one value a lane, shaped to broadcast over beams and vocabulary.

    Both temperature forms are one expression, log p_a(x; T) = outer * log softmax(z_a / inner): the softmax form has
    inner = T and outer = 1, the logprob form inner = 1 and outer = 1 / T.
    """

    log_alpha: Float[Tensor, "lane 1 1"]
    inner: Float[Tensor, "lane 1 1"]
    weight: Float[Tensor, "lane 1 1"]  # beta * outer
    over_candidates: Bool[Tensor, "lane 1 1"] | None  # the amateur is normalised over V_head; None: nowhere
    expert_weight: Float[Tensor, "lane 1 1"] | None  # 1 + beta of the amplified form, else 1; None: 1 everywhere
    redistributed: Bool[Tensor, "lane 1 1"] | None  # None: nowhere
    best: Ranks | None  # tokens that the expert is cut to; None: nowhere
    at_least: Ranks | None  # plausible tokens at least; None: one everywhere
    rules: LaneRules | None  # None: alpha everywhere
    outer: Float[Tensor, "lane 1 1"]
    amplified: Bool[Tensor, "lane 1 1"] | None  # None: nowhere
    by_token: TokenWeights | None  # None: the weight is the same at every token


def objective_settings(settings: Sequence[Setting], device: torch.device) -> ObjectiveSettings:
    """Stack the settings of the lanes."""

    def flags(values: list[bool]) -> Tensor | None:
        return torch.tensor(values, device=device)[:, None, None] if any(values) else None

    rules = [setting.plausibility for setting in settings]
    amplified = [setting.form is Form.amplified for setting in settings]
    over = [setting.normalizer is Normalizer.candidates for setting in settings]
    renormalised = [setting.temperature_form is TemperatureForm.softmax for setting in settings]
    pairs = list(zip(settings, renormalised, strict=True))
    outer = [1.0 if softmax else 1 / setting.temperature for setting, softmax in pairs]
    return ObjectiveSettings(
        log_alpha=column([math.log(setting.alpha) for setting in settings], device),
        inner=column([float(setting.temperature) if softmax else 1.0 for setting, softmax in pairs], device),
        weight=column([setting.beta / (1.0 if softmax else setting.temperature) for setting, softmax in pairs], device),
        over_candidates=flags(over),
        expert_weight=column(
            [1 + setting.beta if up else 1.0 for setting, up in zip(settings, amplified, strict=True)], device
        )
        if any(amplified)
        else None,
        redistributed=flags([setting.form is Form.redistributed for setting in settings]),
        best=ranks([setting.expert_top_k for setting in settings], device),
        at_least=ranks([setting.min_tokens if setting.min_tokens > 1 else None for setting in settings], device),
        rules=None if set(rules) <= {ALPHA} else LaneRules(rules, device),
        outer=column(outer, device),
        amplified=flags(amplified),
        by_token=token_weights(settings, device),
    )


def log_probs(logits: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows vocab"]:
    """Log-softmax in float32, whatever the logits are."""
    return torch.log_softmax(logits, dim=-1, dtype=torch.float32)


def ban(log_expert: Float[Tensor, "*rows vocab"], banned: Int[Tensor, " banned"]) -> Float[Tensor, "*rows vocab"]:
    """The expert's log-probabilities with the banned tokens at -inf, not re-normalised; changes its argument."""
    return log_expert.index_fill_(-1, banned, -math.inf)


class Masked(NamedTuple):
    """The tokens that a rule of plausibility leaves."""

    log_expert: Float[Tensor, "lane beam token"]  # the expert's log-probabilities, cut where they are to be
    implausible: Bool[Tensor, "lane beam token"]

    def among(self, tokens: Int[Tensor, "lane beam candidate"]) -> "Masked":
        """Select some tokens."""
        return Masked(self.log_expert.gather(-1, tokens), self.implausible.gather(-1, tokens))


def contrast(
    log_expert: Float[Tensor, "lane beam vocab"],
    amateur_logits: Float[Tensor, "lane beam vocab"],
    objective: ObjectiveSettings,
    masked: Masked | None = None,
) -> Float[Tensor, "lane beam vocab"]:
    """Score each next token by how much the expert prefers it over the amateur [nats].

    Args:
        log_expert: log-probabilities, banned tokens at -inf, so never plausible. Of the whole vocabulary, or, where
            every lane is normalised over V_head, of any tokens that V_head is among.
        amateur_logits: raw logits of the same tokens, any float dtype.
        objective: one setting a lane.
        masked: what is plausible, where the rules have seen more tokens than these.
    """
    own = log_expert
    log_expert, implausible = masked or plausibility(log_expert, objective)
    weight, expert_weight = objective.weight, objective.expert_weight
    if objective.by_token is not None:
        beta = objective.by_token.at(own, amateur_logits)
        weight = beta * objective.outer
        expert_weight = None if objective.amplified is None else 1 + beta * objective.amplified
    preferred = log_expert if expert_weight is None else log_expert * expert_weight
    scores = tempered(amateur_logits, implausible, objective).mul_(-weight).add_(preferred)
    scores = scores.masked_fill_(implausible, -math.inf)
    if objective.redistributed is None:
        return scores
    mass = log_expert.masked_fill(implausible, -math.inf).logsumexp(dim=-1, keepdim=True)
    shared = torch.where(implausible, own, scores.log_softmax(dim=-1) + mass)
    return torch.where(objective.redistributed, shared, scores)


def plausibility(log_expert: Float[Tensor, "lane beam vocab"], objective: ObjectiveSettings) -> Masked:
    """The expert's log-probabilities, cut where they are to be, and which tokens lie outside V_head."""
    if objective.best is not None:
        log_expert = cut(log_expert, objective.best)
    implausible = log_expert < threshold(log_expert, objective.log_alpha)
    if objective.rules is not None:
        implausible = objective.rules.outside(log_expert, implausible)
    if objective.at_least is not None:
        # Where fewer tokens than that are possible at all, the impossible ones are not plausible for it.
        last = objective.at_least.value(log_expert, without=math.inf).clamp(min=torch.finfo(log_expert.dtype).min)
        implausible = implausible & (log_expert < last)
    return Masked(log_expert, implausible)


def tempered(
    amateur_logits: Float[Tensor, "lane beam vocab"],
    implausible: Bool[Tensor, "lane beam vocab"],
    objective: ObjectiveSettings,
) -> Float[Tensor, "lane beam vocab"]:
    """The amateur's log softmax(z_a / inner), over V_head alone for the lanes that want it so; a tensor of its own."""
    logits = amateur_logits.float() / objective.inner
    if objective.over_candidates is not None:
        logits = logits.masked_fill_(implausible & objective.over_candidates, -math.inf)
    return log_probs(logits)


def cut(log_expert: Float[Tensor, "lane beam vocab"], best: Ranks) -> Float[Tensor, "lane beam vocab"]:
    """The expert's best tokens, re-normalised; ties with the last one stay, and lanes without a rank as they are."""
    kept = log_expert.masked_fill(log_expert < best.value(log_expert, without=-math.inf), -math.inf)
    return torch.where(best.rank == 0, log_expert, kept - kept.logsumexp(dim=-1, keepdim=True))
