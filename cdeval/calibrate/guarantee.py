r"""Learn then Test (Angelopoulos et al. 2021), as CALM calibrates its threshold (Schuster et al. 2022, section 4).

For each threshold λ of a grid, from the most cautious one down, the null hypothesis is that it is unsafe,

    H_λ:  E[ risk of a text at λ ] > δ

and its p-value, from the mean R of n independent texts' risks in [0, 1], is that of Hoeffding and Bentkus (Bates et
al. 2021, "Distribution-Free, Risk-Controlling Prediction Sets"; used by Angelopoulos et al.):

    p = min( exp(-n h(min(R, δ), δ)),  e P[Bin(n, δ) <= ceil(n R)] ),     h(a, b) = a ln(a/b) + (1-a) ln((1-a)/(1-b))

Hypotheses are tested in the order of the grid, each at level ε, until one is not rejected (fixed-sequence testing):

    P[ the risk of the chosen λ exceeds δ ] <= ε       over the draw of the n texts,

whatever the risks are and however they hang together across λ: to choose an unsafe one, the first unsafe one of the
sequence must have been rejected, which happens with probability ε at most. The guarantee is for the mean over texts
drawn as those were, and not for each text.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import binom


class Verdict(NamedTuple):
    """The test's result for one threshold."""

    p: float  # of its being unsafe
    accepted: bool  # it, and all before it


def p_value(risk: float, texts: int, tolerance: float) -> float:
    """Compute the p-value of a mean risk of some texts where the true one is above the tolerance δ, in (0, 1].

    Args: risk: mean, in [0, 1]. texts: at least 1. tolerance: in (0, 1).
    """
    low = min(risk, tolerance)
    divergence = _term(low, tolerance) + _term(1 - low, 1 - tolerance)
    bentkus = math.e * float(binom.cdf(math.ceil(texts * risk), texts, tolerance))
    return min(math.exp(-texts * divergence), bentkus, 1.0)


def fixed_sequence(risks: Sequence[float], texts: int, tolerance: float, level: float) -> list[Verdict]:
    """Test which thresholds are accepted; `risks` are mean ones, of the most cautious threshold first."""
    verdicts: list[Verdict] = []
    going = True
    for risk in risks:
        p = p_value(risk, texts, tolerance)
        going = going and p <= level
        verdicts.append(Verdict(p, going))
    return verdicts


def texts_needed(tolerance: float, level: float) -> int:
    """Count the texts that it takes to accept a threshold at which none of them has any risk.

    >>> texts_needed(0.25, 0.05)
    11
    """
    return math.ceil(math.log(level) / math.log(1 - tolerance))


def _term(a: float, b: float) -> float:
    return a * math.log(a / b) if a else 0.0
