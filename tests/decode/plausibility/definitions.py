"""The rules by their definitions: lists, loops and float64, one row at a time; which tokens may be said."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

Row = Sequence[float]  # logits, or log-probabilities; what cannot be said is -inf
Kept = set[int]


def probabilities(row: Row) -> dict[int, float]:
    """Of the tokens that may be said, re-normalised."""
    most = max(row)
    weights = {token: math.exp(value - most) for token, value in enumerate(row) if value > -math.inf}
    total = sum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


def in_order(row: Row) -> list[int]:
    """Tokens that may be said, likeliest first."""
    return sorted(probabilities(row), key=lambda token: -row[token])


def entropy(p: Sequence[float]) -> float:
    """In nats."""
    return -sum(one * math.log(one) for one in p if one > 0)


def alpha(row: Row, alpha: float) -> Kept:
    p = probabilities(row)
    least = alpha * max(p.values())
    return {token for token in p if p[token] >= least}


def min_p(row: Row, min_p: float) -> Kept:
    return alpha(row, min_p)


def top_n_sigma(row: Row, n_sigma: float) -> Kept:
    possible = [value for value in row if value > -math.inf]
    mean = sum(possible) / len(possible)
    sigma = math.sqrt(sum((value - mean) ** 2 for value in possible) / len(possible))
    least = max(possible) - n_sigma * sigma
    return {token for token, value in enumerate(row) if value >= least}


def p_less(row: Row, p_less_norm: bool) -> Kept:
    p = probabilities(row)
    least = sum(one * one for one in p.values())
    if p_less_norm and len(p) > 1:
        least = (len(p) * least - 1) / (len(p) - 1)
    return {token for token in p if p[token] >= least}


def top_h(row: Row, h: float, top_h_form: str) -> Kept:
    of_all, order = probabilities(row), in_order(row)
    if top_h_form == "cumulative":
        order = order[:100]
    mass = sum(of_all[token] for token in order)
    p = [of_all[token] / mass for token in order]
    bound, kept = h * entropy(p), order[:1]
    for count in range(2, len(p) + 1):
        held = 1 if top_h_form == "cumulative" else sum(p[:count])
        if entropy([one / held for one in p[:count]]) > bound:
            break
        kept = order[:count]
    return set(kept)


def min_k(row: Row, min_k_tau: float) -> Kept:
    order = in_order(row)
    logits = [row[token] for token in order]
    span = logits[0] - logits[-1] + 1e-8
    decay = [(first - second) / span / place for place, (first, second) in enumerate(pairwise(logits), start=1)]
    cliff = decay.index(max(decay)) + 1 if decay else 1
    return set(order[: max(cliff, math.floor(min_k_tau / span))])


def top_k(row: Row, top_k: int) -> Kept:
    return set(in_order(row)[:top_k])


def nucleus(row: Row, top_p: float) -> Kept:
    p, kept, held = probabilities(row), set(), 0.0
    for token in in_order(row):
        if held >= top_p:
            break
        kept.add(token)
        held += p[token]
    return kept


def typical(row: Row, typical_p: float) -> Kept:
    p = probabilities(row)
    middle = entropy(list(p.values()))
    kept, held = set(), 0.0
    for token in sorted(p, key=lambda token: abs(-math.log(p[token]) - middle)):
        if held >= typical_p:
            break
        kept.add(token)
        held += p[token]
    return kept


def eta(row: Row, eta: float) -> Kept:
    p = probabilities(row)
    least = min(eta, math.sqrt(eta) * math.exp(-entropy(list(p.values()))))
    most = max(p.values())
    return {token for token in p if p[token] >= least or p[token] == most}


def every(row: Row) -> Kept:
    return set(probabilities(row))


# Settings of each rule, narrow and wide.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("min_p", {"min_p": 0.05}),
    ("min_p", {"min_p": 1.0}),
    ("top_n_sigma", {"n_sigma": 1.0}),
    ("top_n_sigma", {"n_sigma": 2.5}),
    ("p_less", {"p_less_norm": False}),
    ("p_less", {"p_less_norm": True}),
    ("top_h", {"h": 0.4, "top_h_form": "cumulative"}),
    ("top_h", {"h": 0.9, "top_h_form": "cumulative"}),
    ("top_h", {"h": 0.4, "top_h_form": "renormalised"}),
    ("top_h", {"h": 0.9, "top_h_form": "renormalised"}),
    ("min_k", {"min_k_tau": 3.0}),
    ("min_k", {"min_k_tau": 40.0}),
    ("top_k", {"top_k": 1}),
    ("top_k", {"top_k": 30}),
    ("nucleus", {"top_p": 0.3}),
    ("nucleus", {"top_p": 0.95}),
    ("typical", {"typical_p": 0.2}),
    ("typical", {"typical_p": 0.9}),
    ("eta", {"eta": 0.0003}),
    ("eta", {"eta": 0.3}),
    ("all", {}),
]
DEFINED: dict[str, Callable[..., Kept]] = {
    "alpha": alpha,
    "min_p": min_p,
    "top_n_sigma": top_n_sigma,
    "p_less": p_less,
    "top_h": top_h,
    "min_k": min_k,
    "top_k": top_k,
    "nucleus": nucleus,
    "typical": typical,
    "eta": eta,
    "all": every,
}
