"""Top-h: the longest list of the likeliest tokens whose entropy is at most h times the entropy of all of them.

Two definitions are in use, and `contrast.top_h_form` names one:

    cumulative     Σ -q log q over the kept tokens  <= h · H(q),      q: the 100 likeliest tokens, re-normalised
    renormalised   H(p restricted to the kept tokens) <= h · H(p),    p: all tokens

`cumulative` is what `TopHLogitsWarper` of transformers 5.23 computes. `renormalised` is what its documentation says
(`GenerationConfig.top_h`) and what the paper bounds (Potraghloo et al. 2025, "Top-H Decoding", arXiv 2509.02510).
The authors' own code follows the first, on p without re-normalisation, and keeps the token that passes the bound, too.
H is in nats; a factor for other units would cancel. All tokens are those that may be said, re-normalised.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cdeval.config.enums import TopHForm
from cdeval.config.plausibility import RULES
from cdeval.decode.beam import largest
from cdeval.decode.lanes import column
from cdeval.decode.plausibility.own import Own, OwnRule

LIKELIEST = 100  # tokens that the form `cumulative` looks at


def outside_cumulative(
    log_p: Float[Tensor, "lane beam token"], h: Float[Tensor, "lane 1 1"]
) -> Bool[Tensor, "lane beam token"]:
    """Mark the tokens outside, by the definition of the form."""
    values, places = largest(log_p, min(LIKELIEST, log_p.shape[-1]))
    terms = _terms(values.log_softmax(dim=-1))
    return _others(terms.cumsum(dim=-1) <= h * terms.sum(dim=-1, keepdim=True), places, log_p)


def outside_renormalised(
    log_p: Float[Tensor, "lane beam token"], h: Float[Tensor, "lane 1 1"]
) -> Bool[Tensor, "lane beam token"]:
    """Mark the tokens outside, by the definition of the form.

    The entropy of the first k tokens, re-normalised, is Σ -p log p / m + log m, where m is their mass. It grows with
    every token (Theorem 3 of the paper); the largest so far is taken, so that rounding leaves no gap.
    """
    values, places = log_p.log_softmax(dim=-1).sort(dim=-1, descending=True)
    mass, terms = values.exp().cumsum(dim=-1), _terms(values)
    entropy = (terms.cumsum(dim=-1) / mass + mass.log()).cummax(dim=-1).values
    return _others(entropy <= h * terms.sum(dim=-1, keepdim=True), places, log_p)


def _terms(log_p: Float[Tensor, "lane beam token"]) -> Float[Tensor, "lane beam token"]:
    """-p log p of each token; 0 for an impossible one, whose 0 · -inf is NaN."""
    return -(log_p.exp() * log_p).nan_to_num(nan=0.0)


def _others(
    kept: Bool[Tensor, "lane beam kept"], places: Int[Tensor, "lane beam kept"], log_p: Float[Tensor, "lane beam token"]
) -> Bool[Tensor, "lane beam token"]:
    """Mark all tokens but the kept ones; the first of those in order always is."""
    kept[..., 0] = True
    return torch.ones_like(log_p, dtype=torch.bool).scatter(-1, places, ~kept)


class _Bounds(NamedTuple):
    """The lanes' h, and which of them have the form `renormalised`."""

    h: Float[Tensor, "lane 1 1"]
    renormalised: Bool[Tensor, "lane 1 1"]
    forms: frozenset[str]  # known to the host, so that a form of no lane is not worked out


def outside(log_p: Float[Tensor, "lane beam token"], bounds: _Bounds) -> Bool[Tensor, "lane beam token"]:
    """Mark the tokens outside, each lane by its own form."""
    if TopHForm.renormalised.value not in bounds.forms:
        return outside_cumulative(log_p, bounds.h)
    found = outside_renormalised(log_p, bounds.h)
    if len(bounds.forms) == 1:
        return found
    return torch.where(bounds.renormalised, found, outside_cumulative(log_p, bounds.h))


def _bounds(lanes: Sequence[Own], device: torch.device) -> _Bounds:
    forms = [one["top_h_form"] for one in lanes]
    renormalised = [form == TopHForm.renormalised.value for form in forms]
    h = column([one["h"] for one in lanes], device)
    return _Bounds(h, torch.tensor(renormalised, device=device)[:, None, None], frozenset(forms))


def _label(own: Own) -> str:
    form = "" if own["top_h_form"] == TopHForm.cumulative.value else f" {own['top_h_form']}"
    return f"top-h={own['h']:g}{form}"


RULES.add(OwnRule("top_h", _label, outside, _bounds))
