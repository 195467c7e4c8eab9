"""Differences between arms: paired by prompt, with interval, p-value and what a study of this size could have seen.

Prompts are the units: two arms continue the same ones, so they are drawn together, and several samples of one prompt
are drawn together too, and so are the prompts that were cut from one document. A prompt where either arm has no value
is dropped and counted.

The method is the symmetric studentised bootstrap (Hall 1988, "Theoretical comparison of bootstrap confidence
intervals", Ann. Statist. 16): prompts are drawn anew, each draw's error is divided by its own standard error
(infinitesimal jackknife: the spread of the statistic's linear part), and the interval is

    d ± q·se,   q = the 95 % quantile of |d* − d| / se*

BCa is no match for repetition, where a few degenerate texts carry all the variance and a draw without them claims to be
sure. In simulated studies (4 % against 1 % degenerate texts, 50 prompts) it held the true difference 80 times of 100,
this interval 91 times. It cannot be more than 93: one of 14 such studies holds no degenerate text in either arm, and
nothing in it says that there are any; of the others this interval held 98 of 100. On a log or logit scale, with unequal
tails, or put together from the arms' own intervals (MOVER), it held 82 to 91, or as many at more than twice the width.
`tests/metrics/test_coverage.py` repeats that and more. Where one or two prompts differ and all others are the same in
both arms, more than one draw in twenty holds none of them: there is a difference then, and no interval. The p-value
inverts the interval: it is at most 5 % where the 95 % interval excludes 0. Fewer than `stats.FEWEST` prompts that have
a value in both arms have a difference alone, without interval, p-value or detectable difference: `cdeval.metrics.stats`
has the reason.

Corrected p-values: Holm (1979), "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri  # scipy.stats takes a second to import, before a command could say a word

from cdeval.metrics.stats import FEW, FEWEST, IN_GROUPS, MANY, Statistic, by_document, in_groups, with_value
from cdeval.records import Comparison, Estimate

POWER = 0.8  # of the detectable difference
_STEP = 1e-4  # of the numerical derivative, relative to a column's sum of magnitudes
_NOISE = 1e-6  # of the whole's standard error: what the numerical derivative makes of a spread that is 0
_METHOD = "paired by prompt, symmetric studentised bootstrap"


@dataclass(frozen=True, slots=True)
class ArmRows:
    """One metric's rows of an arm's texts."""

    ids: tuple[str, ...]  # of the prompts, one a row; a prompt with several samples has several rows
    values: Float[np.ndarray, "text column"]  # NaN where the text has no value

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.ids) != len(self.values):
            raise ValueError(f"{len(self.ids)} prompts for rows of shape {self.values.shape}: expected a row a prompt")


class Settings(NamedTuple):
    """The confidence of intervals, and the number of resamples."""

    confidence: float = 0.95  # in (0, 1)
    draws: int = 2000  # p-values end at 1 / (draws + 1), before any correction
    seed: int = 0


class Pairs(NamedTuple):
    """The prompts that both arms have."""

    arm: Float[np.ndarray, "prompt column"]  # rows of the arm, summed over the samples of a prompt
    against: Float[np.ndarray, "prompt column"]
    missing: int  # prompts without a value on either side
    prompts: Sequence[str]  # their ids


def counted(values: Float[np.ndarray, "text 1"]) -> Float[np.ndarray, "text 2"]:
    """Values beside a one each: a mean as a ratio of sums, to which the samples of a prompt add up."""
    return np.hstack([values, np.where(np.isnan(values), math.nan, 1.0)])


def compare_arms(
    rows: Mapping[str, ArmRows], statistic: Statistic, metric: str, against: str, settings: Settings
) -> list[Comparison]:
    """Every other arm against one of them.

    Args:
        rows: by arm.
        statistic: rows [..., text, column] to numbers [...]; must read the rows through their sums, as ratios of sums
            do. For a mean over texts: `ratio_of_sums` of `counted` rows.
        metric: its name.
        against: the arm that is subtracted.
        settings: confidence, draws, seed. All comparisons draw the same prompts.

    Returns: one comparison an arm, Holm-corrected among themselves; `with_holm` corrects for a larger family.

    Raises: ValueError: `against` is no arm, or the statistic is not one of sums.
    """
    if against not in rows:
        raise ValueError(f"{against!r} is not among the arms {sorted(rows)}")
    return with_holm(
        [
            _compare(pair_rows(of_arm, rows[against]), statistic, (metric, label, against), settings)
            for label, of_arm in rows.items()
            if label != against
        ]
    )


def with_holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Correct the p-values of comparisons for being looked at together (Holm)."""
    corrected = holm([comparison.p for comparison in comparisons])
    return [replace(found, p_holm=p) for found, p in zip(comparisons, corrected, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; NaN stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    corrected, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        corrected[index] = largest
    return corrected


def pair_rows(arm: ArmRows, against: ArmRows) -> Pairs:
    """The prompts that have a value in both arms, in the order of the first."""
    ours, theirs = _by_prompt(arm), _by_prompt(against)
    both = [prompt for prompt in ours if prompt in theirs]
    every = len(set(arm.ids) | set(against.ids))

    def rows(found: dict[str, Float[np.ndarray, " column"]], columns: int) -> Float[np.ndarray, "prompt column"]:
        return np.array([found[prompt] for prompt in both], dtype=np.float64).reshape(len(both), columns)

    return Pairs(rows(ours, arm.values.shape[1]), rows(theirs, against.values.shape[1]), every - len(both), both)


def detectable(standard_error: float, confidence: float) -> float:
    """The difference that a two-sided test finds with `POWER`, when the paired standard error is this."""
    return float(ndtri((1 + confidence) / 2) + ndtri(POWER)) * standard_error


@functools.lru_cache(maxsize=8)  # every metric of every arm asks for the same
def resample_counts(prompts: int, draws: int, seed: int) -> Float[np.ndarray, "draw prompt"]:
    """Draw how often each prompt is in each bootstrap resample; the result is not to be written to."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=draws).astype(np.float64)
    counts.flags.writeable = False
    return counts


def no_comparison(names: tuple[str, str, str], n: int, missing: int, note: str) -> Comparison:
    """A comparison without a value, and why."""
    nothing = Estimate(math.nan, math.nan, math.nan, n, missing, note)
    return Comparison(*names, nothing, math.nan, math.nan, math.nan)


def _compare(pairs: Pairs, statistic: Statistic, names: tuple[str, str, str], settings: Settings) -> Comparison:
    rows = by_document(np.hstack([pairs.arm, pairs.against]), pairs.prompts)
    n, split = len(pairs.prompts), pairs.arm.shape[1]
    if n < 2:
        return no_comparison(names, n, pairs.missing, "fewer than two prompts have a value in both arms")
    _check(statistic, pairs.arm)
    few = min(with_value(rows[:, :split]), with_value(rows[:, split:])) < FEWEST

    def difference(sums: Float[np.ndarray, "... column"]) -> Float[np.ndarray, "..."]:
        with np.errstate(all="ignore"):
            return statistic(sums[..., None, :split]) - statistic(sums[..., None, split:])

    value = float(difference(rows.sum(axis=0)))
    if few:
        alone = Estimate(value, math.nan, math.nan, n, pairs.missing, f"paired by prompt; {FEW}")
        return Comparison(*names, alone, math.nan, math.nan, math.nan)
    grouped, rows = len(rows) > MANY, in_groups(rows)
    error = _standard_errors(difference, rows, np.ones((1, len(rows))))[0]
    weights = resample_counts(len(rows), settings.draws, settings.seed)
    errors = _standard_errors(difference, rows, weights)
    errors[errors < _NOISE * error] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        # 0 / 0: a draw of prompts that are all alike and agree with the whole is no evidence of error.
        ratios = np.nan_to_num(np.abs(difference(weights @ rows) - value) / errors, nan=0.0, posinf=math.inf)
        ratio = float(np.nan_to_num(np.abs(value) / error, nan=0.0, posinf=math.inf))
    reach = float(np.quantile(ratios, settings.confidence, method="higher")) * error
    low, high, note = value - reach, value + reach, f"{_METHOD}; {IN_GROUPS}" if grouped else _METHOD
    if not math.isfinite(reach):  # a draw without any of the prompts that differ says nothing of the error
        low, high, note = math.nan, math.nan, f"{_METHOD}; too few prompts differ for an interval"
    return Comparison(
        *names,
        Estimate(value, low, high, n, pairs.missing, note),
        p=float((1 + (ratios >= ratio).sum()) / (settings.draws + 1)),
        p_holm=math.nan,
        detectable=detectable(float(error), settings.confidence),
    )


def _standard_errors(
    of_sums: Statistic, rows: Float[np.ndarray, "prompt column"], weights: Float[np.ndarray, "draw prompt"]
) -> Float[np.ndarray, " draw"]:
    """The standard error of `of_sums` in each draw: the spread of its linear part over the draw's prompts."""
    n = len(rows)
    sums = weights @ rows
    steps = _STEP * np.abs(rows).sum(axis=0)
    steps[steps == 0] = 1.0
    slopes = np.stack(
        [
            (of_sums(sums + step) - of_sums(sums - step)) / (2 * steps[column])
            for column, step in enumerate(np.diag(steps))
        ],
        axis=-1,
    )
    with np.errstate(invalid="ignore"):  # a draw without a value has no slopes either
        linear = slopes @ rows.T - (slopes * sums).sum(axis=-1, keepdims=True) / n
        return np.asarray(np.sqrt((weights * linear**2).sum(axis=-1) * n / (n - 1)))


def _by_prompt(rows: ArmRows) -> dict[str, Float[np.ndarray, " column"]]:
    """Rows that have a value, summed over the samples of a prompt."""
    found: dict[str, Float[np.ndarray, " column"]] = {}
    for prompt, row in zip(rows.ids, rows.values, strict=True):
        if not np.isnan(row).any():
            found[prompt] = found[prompt] + row if prompt in found else row.astype(np.float64)
    return found


def _check(statistic: Statistic, rows: Float[np.ndarray, "prompt column"]) -> None:
    with np.errstate(all="ignore"):
        whole, of_sums = float(statistic(rows)), float(statistic(rows.sum(axis=0, keepdims=True)))
    if not math.isclose(whole, of_sums, rel_tol=1e-6, abs_tol=1e-9) and not (math.isnan(whole) and math.isnan(of_sums)):
        raise ValueError(
            "the statistic does not depend on the rows through their sums alone: for a mean, compare "
            "`ratio_of_sums` of `counted` rows"
        )
