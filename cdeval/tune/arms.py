"""Arms whose settings were tried, as the command's tables, page and files show them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cdeval.config.grids import TunedArm
from cdeval.records import Estimate
from cdeval.tune.curve import BestOf


class TriedSetting(NamedTuple):
    """One setting of an arm, with the scores of its texts."""

    overrides: tuple[str, ...]  # beside those of its arm
    label: str  # empty: it failed
    folder: str | None
    scores: Mapping[str, Estimate]
    value: float  # of the criterion; NaN: none, or less than at_least


class Tuned(NamedTuple):
    """An arm, its settings, and which of them is the best."""

    arm: TunedArm
    settings: Sequence[TriedSetting]
    best: int | None  # place of the best one; None: the criterion gives none a value
    curve: Sequence[BestOf]

    @property
    def chosen(self) -> TriedSetting | None:
        """The best setting."""
        return None if self.best is None else self.settings[self.best]
