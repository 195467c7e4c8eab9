"""The results of the command, as it shows and writes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cdeval.judge.agreement import Agreement
from cdeval.judge.asking import AskedPair, Judgement
from cdeval.records import Comparison, Estimate


class JudgedArm(NamedTuple):
    """One arm against another in a judge's eyes."""

    arm: str
    against: str
    preference: Estimate  # mean preference of the arm, in [0, 1]; 1/2 is none
    win: float  # shares of the pairs
    tie: float
    loss: float
    comparison: Comparison  # of the net preference, 2 · preference − 1, with its p-value


class JudgeHabits(NamedTuple):
    """How a judge judges, and what it takes."""

    pairs: int
    firsts: float  # mean preference of the text that stands first: 1/2 where the order does not matter
    both: float  # share of the pairs on which both orders prefer the same text; NaN: it is asked once
    tokens: float  # a pair; NaN: not known
    flops: float
    seconds: float


class JudgedPair(NamedTuple):
    """A pair and what the judge said of it."""

    of: str  # "people", or the two arms
    pair: AskedPair
    judgement: Judgement
    votes: Sequence[str]  # of people, where there are some


class JudgeResult(NamedTuple):
    """What the command shows and writes."""

    judge: str  # its name; empty: nobody judged
    calibrated: Agreement | None  # the judge with people
    scale: Sequence[Agreement]  # what agreement there is without reading, and among people
    metrics: Sequence[Agreement]  # of metrics, those that agree most first
    arms: Sequence[JudgedArm]
    habits: JudgeHabits | None
    judged: Sequence[JudgedPair]
    notes: Sequence[str]
    folder: Path
