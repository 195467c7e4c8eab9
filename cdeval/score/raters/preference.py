"""Preference rates of votes with intervals, a test, and how far raters agree.

    win, tie, loss = votes for the first arm, for neither, for the second, each over all votes      in [0, 1]
    net            = win − loss                                                                    in [−1, 1]

Intervals are BCa over prompts: all votes on a prompt are drawn together, since raters of one pair judge the same texts
and are not independent; fewer than `stats.FEWEST` prompts have none. The test is a sign test on prompts for the same
reason: a prompt counts for the arm with more votes, a draw counts for neither, and under "no preference" wins are
binomial with p = 1/2 (two-sided). It is exact at any number of prompts, which no bootstrap is.

    alpha = 1 − observed disagreement / disagreement expected by chance     at most 1; 0 is chance, below it is worse

Krippendorff's alpha for nominal votes (Krippendorff 2004, "Content Analysis", ch. 11): any number of raters, votes may
be missing; pairs with one vote say nothing about agreement. NaN where there is no pair with two votes, or all votes are
the same, when chance alone would agree completely.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from cdeval.metrics.stats import FEW, FEWEST, interval, ratio_of_sums
from cdeval.records import Estimate
from cdeval.score.raters.votes import Ballot, Key


class Preference(NamedTuple):
    """The first arm against the second, in people's eyes."""

    win: Estimate
    tie: Estimate
    loss: Estimate
    net: Estimate
    prompts_won: int  # more votes for the first arm
    prompts_lost: int
    prompts_drawn: int
    p: float  # of the sign test over prompts; NaN where no prompt is decided
    alpha: float  # Krippendorff's
    left: float  # share of the sided votes that went left: far from 0.5 is a habit of raters
    raters: int
    votes: int


def preference(ballots: Sequence[Ballot], key: Key, confidence: float, draws: int, seed: int) -> Preference:
    """Rates, test and agreement; NaN where there is no vote."""
    by_prompt: dict[str, Counter[str]] = {}
    sides: Counter[str] = Counter()
    for ballot in ballots:
        for code, vote in ballot.votes.items():
            by_prompt.setdefault(key.ids[code], Counter())[outcome(vote, key.first_is_left[code])] += 1
            sides[vote] += 1
    counts = np.array(
        [[votes[name] for name in ("win", "tie", "loss")] for votes in by_prompt.values()], dtype=np.float64
    )
    counts = counts.reshape(-1, 3)
    totals = counts.sum(axis=1)
    silent = len(key.ids) - len(by_prompt)

    def rate(amounts: np.ndarray) -> Estimate:
        rows = np.column_stack([amounts, totals])
        value = float(ratio_of_sums(rows)) if len(rows) else math.nan
        ends = interval(rows, ratio_of_sums, confidence, draws, seed)
        return Estimate(value, *ends, len(rows), silent, FEW if len(rows) < FEWEST else "interval over prompts")

    margins = counts[:, 0] - counts[:, 2]
    won, lost = int((margins > 0).sum()), int((margins < 0).sum())
    sided = sides["left"] + sides["right"]
    return Preference(
        win=rate(counts[:, 0]),
        tie=rate(counts[:, 1]),
        loss=rate(counts[:, 2]),
        net=rate(margins),
        prompts_won=won,
        prompts_lost=lost,
        prompts_drawn=len(margins) - won - lost,
        p=float(binomtest(won, won + lost).pvalue) if won + lost else math.nan,
        alpha=krippendorff_alpha([ballot.votes for ballot in ballots]),
        left=sides["left"] / sided if sided else math.nan,
        raters=len(ballots),
        votes=int(totals.sum()),
    )


def outcome(vote: str, first_is_left: bool) -> str:
    """A vote on sides as the first arm's win, tie or loss."""
    if vote == "tie":
        return "tie"
    return "win" if (vote == "left") == first_is_left else "loss"


def krippendorff_alpha(raters: Sequence[Mapping[str, str]]) -> float:
    """Nominal alpha of each rater's votes by unit; see the module for NaN."""
    units: dict[str, Counter[str]] = {}
    for of_rater in raters:
        for unit, vote in of_rater.items():
            units.setdefault(unit, Counter())[vote] += 1
    paired = [votes for votes in units.values() if votes.total() > 1]
    totals: Counter[str] = Counter()
    for votes in paired:
        totals.update(votes)
    n = totals.total()
    expected = (n * n - sum(count * count for count in totals.values())) / (n - 1) if n > 1 else 0.0
    observed = sum(
        (votes.total() ** 2 - sum(count * count for count in votes.values())) / (votes.total() - 1) for votes in paired
    )
    return 1 - observed / expected if expected else math.nan
