"""Agreement with people: how often a judge or a metric prefers the text that most people prefer.

    agreement = pairs on which it prefers the people's choice, and half of those on which it prefers neither, over all
                pairs that people decided and that it has a value of         in [0, 1]; 1/2 is chance

Pairs on which as many people prefer one text as the other decide nothing, and are left out and counted. The interval is
Wilson's (1927, "Probable Inference, the Law of Succession, and Statistical Inference", J. Amer. Statist. Assoc. 22),
which holds for few pairs as well, and for shares near 0 and 1.

    balanced = mean of the agreement on the pairs that one arm won among people, and on those that the other won

Where people prefer one arm in 70 of 100 pairs, whoever merely tells the arms apart agrees in 70; its balanced agreement
is 1/2. Its interval puts the two shares' Wilson intervals together (Newcombe 1998, "Interval Estimation for the
Difference between Independent Proportions", Statistics in Medicine 17): one arm may have won few pairs.

Two rows give the scale. *Always one arm* is the best that can be had without reading a text: the arm that people prefer
more often, whatever stands there. *One person with the others* is each vote for a side against the majority of the
other votes on the pair; its interval is a bootstrap over pairs, since votes on one pair are not independent.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from cdeval.judge.rated import SIDES, RatedPair
from cdeval.metrics.compare import Settings
from cdeval.metrics.stats import FEW, FEWEST, interval, ratio_of_sums
from cdeval.records import Estimate

CHANCE = 0.5
ONE_PERSON = "one person with the others"
_NONE = Estimate(math.nan, math.nan, math.nan, 0, 0)


class Agreement(NamedTuple):
    """How far one judge or metric agrees with people."""

    name: str
    found: Estimate  # n: decided pairs with a value, missing: those without
    balanced: Estimate  # over the arms that people prefer; NaN where pairs do not name two
    undecided: int = 0  # of the n, on which it prefers neither text
    prefers: str = ""  # which of two values it prefers: more, less; empty where it judges

    @property
    def against_chance(self) -> str:
        """What the interval says about chance: better, worse, no better; empty where there is no interval."""
        if not math.isfinite(self.found.low):
            return ""
        if self.found.high < CHANCE:
            return "worse"
        return "no better" if self.found.low <= CHANCE else "better"


def wilson(successes: float, n: int, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a share; NaN, NaN for n = 0.

    >>> [round(end, 3) for end in wilson(7, 10, 0.95)]
    [0.397, 0.892]
    """
    if n == 0:
        return math.nan, math.nan
    z = float(ndtri((1 + confidence) / 2))
    share, spread = successes / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def agreement(
    name: str, preferences: Sequence[float], pairs: Sequence[RatedPair], settings: Settings, *, prefers: str = ""
) -> Agreement:
    """Compare preferences with what most people prefer.

    Args:
        name: of the judge or metric.
        preferences: of each pair, above 0 for a, below 0 for b, 0 for neither; NaN where there is no value.
        pairs: with people's votes.
        settings: of the intervals.
        prefers: as of `Agreement`.
    """
    decided = [(ours, pair) for ours, pair in zip(preferences, pairs, strict=True) if pair.majority]
    known = [(ours, pair) for ours, pair in decided if not math.isnan(ours)]
    agreed = [0.5 if ours == 0 else float(ours * pair.majority > 0) for ours, pair in known]
    n = len(known)
    low, high = wilson(sum(agreed), n, settings.confidence)
    note = f"{len(pairs) - len(decided)} pairs undecided by people; Wilson's interval"
    found = Estimate(sum(agreed) / n if n else math.nan, low, high, n, len(decided) - n, note)
    balanced = _balanced(agreed, [pair.preferred for _, pair in known], settings)
    return Agreement(name, found, balanced, sum(ours == 0 for ours, _ in known), prefers)


def _balanced(agreed: Sequence[float], arms: Sequence[str], settings: Settings) -> Estimate:
    """Mean over two arms of the agreement on the pairs that each of them won; NaN where these are not two arms."""
    names = sorted(set(arms))
    if len(names) != 2 or "" in names:
        return Estimate(math.nan, math.nan, math.nan, 0, len(arms), "pairs do not name two arms that people prefer")
    shares, below, above = [], 0.0, 0.0
    for name in names:
        own = [one for one, arm in zip(agreed, arms, strict=True) if arm == name]
        share = sum(own) / len(own)
        low, high = wilson(sum(own), len(own), settings.confidence)
        shares.append(share)
        below, above = below + (share - low) ** 2, above + (high - share) ** 2
    value = sum(shares) / 2
    counts = " and ".join(f"{arms.count(name)} won by {name}" for name in names)
    return Estimate(value, value - math.sqrt(below) / 2, value + math.sqrt(above) / 2, len(arms), 0, counts)


def one_arm(pairs: Sequence[RatedPair], settings: Settings) -> Agreement | None:
    """The agreement of always preferring the arm that people prefer more often; None where no pair names two arms."""
    won: Counter[str] = Counter()
    for pair in pairs:
        if pair.arms[0] != pair.arms[1]:
            won[pair.arms[0]] += pair.majority
            won[pair.arms[1]] -= pair.majority
    if not won:
        return None
    best = max(won, key=lambda arm: won[arm])
    preferences = [float((pair.arms[0] == best) - (pair.arms[1] == best)) for pair in pairs]
    return agreement(f"always {best}", preferences, pairs, settings)


def one_person(pairs: Sequence[RatedPair], settings: Settings) -> Agreement:
    """The agreement of each vote for a side with the majority of the other votes on its pair."""
    rows = np.zeros((len(pairs), 2))
    for at, pair in enumerate(pairs):
        for place, vote in enumerate(pair.votes):
            others = pair._replace(votes=pair.votes[:place] + pair.votes[place + 1 :]).majority
            if vote in SIDES and others:
                rows[at] += ((vote == "a") == (others > 0), 1)
    used = rows[rows[:, 1] > 0]
    if not len(used):
        return Agreement(
            ONE_PERSON, Estimate(math.nan, math.nan, math.nan, 0, len(pairs), "no pair has two votes"), _NONE
        )
    ends = interval(used, ratio_of_sums, settings.confidence, settings.draws, settings.seed)
    note = FEW if len(used) < FEWEST else "interval by bootstrap over pairs"
    value = float(ratio_of_sums(used))
    return Agreement(ONE_PERSON, Estimate(value, ends.low, ends.high, len(used), len(pairs) - len(used), note), _NONE)
