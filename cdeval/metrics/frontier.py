"""The divergence frontier of two histograms: what MAUVE reads off once the texts are clusters.

    curve(w) = ( exp(−c·KL(Q | R_w)), exp(−c·KL(P | R_w)) ),   R_w = w·P + (1 − w)·Q,  c = 5
    MAUVE             = area under the curve, from (1, 0) to (0, 1)                          in (0, 1], higher is closer
    frontier integral = 2 ∫₀¹ w·KL(P | R_w) + (1 − w)·KL(Q | R_w) dw                         in [0, 1], lower is closer
    MAUVE*            = MAUVE of the histograms with ½ added to every cluster's count (Krichevsky–Trofimov)

KL in nats, 0·log 0 = 0. The smoothing keeps a cluster that one side happens to miss from counting as impossible there:
less noise and another bias at small n. Equal histograms have MAUVE 1 and frontier integral 0; disjoint ones c's lower
bound (near 0) and 1.

Pillutla et al. (2021), section 2; Liu et al. (2021), "Divergence Frontiers for Generative Models"; smoothing: Pillutla
et al. (2023), "MAUVE Scores for Generative Models", JMLR 24. All functions take many pairs of histograms at once: an
interval needs thousands.
"""

import numpy as np
from jaxtyping import Float, Num

SCALING = 5  # the constant c of the paper
POINTS = 25  # mixtures on the curve, as published
_EDGE = 1e-6  # of the mixture weights, as published: the ends themselves have infinite divergence
_LARGEST = 250_000  # numbers at once: 2 MB of float64, which stay in the processor's cache


def normalised(counts: Num[np.ndarray, "... cluster"], add: float = 0.0) -> Float[np.ndarray, "... cluster"]:
    """Counts as shares, after adding `add` to each; NaN without any count."""
    raised = counts + add
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def smoothed(counts: Num[np.ndarray, "... cluster"]) -> Float[np.ndarray, "... cluster"]:
    """Krichevsky–Trofimov: counts plus one half, as shares."""
    return normalised(counts, 0.5)


def divergence_curve(
    human: Float[np.ndarray, "... cluster"], generated: Float[np.ndarray, "... cluster"]
) -> Float[np.ndarray, "... point 2"]:
    """The curve from (1, 0) to (0, 1), `POINTS` mixtures between them.

    First coordinate: how well the mixtures hold the generated texts; second: the human ones. P is human, Q generated.
    """
    weights = np.linspace(_EDGE, 1 - _EDGE, POINTS)[:, None]
    mixture = weights * human[..., None, :] + (1 - weights) * generated[..., None, :]
    # KL(p | r) = Σ p·log p − Σ p·log r: the logarithm of the mixture is needed once for both sides.
    logs = _log(mixture)
    sides = np.stack([generated, human], axis=-1)
    divergence = (sides * _log(sides)).sum(axis=-2)[..., None, :] - logs @ sides
    inner = np.exp(-SCALING * np.maximum(divergence, 0.0))  # rounding takes some below 0
    ends = np.broadcast_to([[1.0, 0.0], [0.0, 1.0]], (*inner.shape[:-2], 2, 2))
    return np.concatenate([ends[..., :1, :], inner, ends[..., 1:, :]], axis=-2)


def area(curve: Float[np.ndarray, "... point 2"]) -> Float[np.ndarray, "..."]:
    """The area under a curve that is in order, by trapezoids; the same from either axis."""
    x, y = curve[..., 0], curve[..., 1]
    return np.asarray(((x[..., :-1] - x[..., 1:]) * (y[..., :-1] + y[..., 1:])).sum(axis=-1) / 2)


def mauve(
    human: Float[np.ndarray, "... cluster"], generated: Float[np.ndarray, "... cluster"]
) -> Float[np.ndarray, "..."]:
    """The area under the divergence curve of each pair of histograms, in parts of bounded memory."""
    clusters = human.shape[-1]
    p, q = human.reshape(-1, clusters), generated.reshape(-1, clusters)
    size = max(1, _LARGEST // (POINTS * max(1, clusters)))
    parts = [area(divergence_curve(p[at : at + size], q[at : at + size])) for at in range(0, len(p), size)]
    return np.concatenate([*parts, np.empty(0)]).reshape(human.shape[:-1])


def frontier_integral(
    human: Float[np.ndarray, "... cluster"], generated: Float[np.ndarray, "... cluster"]
) -> Float[np.ndarray, "..."]:
    """The integral in closed form: Σ (p + q)/2 − p·q·(log p − log q)/(p − q)."""
    both = (human > 0) & (generated > 0)
    # Where p and q agree the quotient tends to p, and the term to 0.
    differ = both & (np.abs(human - generated) > 1e-8)
    p, q = np.where(differ, human, 2.0), np.where(differ, generated, 1.0)
    quotient = p * q * (np.log(p) - np.log(q)) / (p - q)
    terms = (human + generated) / 2 - np.where(differ, quotient, np.where(both, (human + generated) / 2, 0.0))
    return np.asarray(terms.sum(axis=-1))


def _log(shares: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The logarithm; 0 for a share of 0, which is only ever multiplied by 0: a mixture is 0 where both sides are."""
    return np.asarray(np.log(np.where(shares > 0, shares, 1.0)))
