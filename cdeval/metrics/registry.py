"""The metrics in the order in which they are reported, and the facts that each declares about itself.

A metric is one object in one file: how tables and pages show it, which way it is better, what it needs, what its scores
depend on, and how they are computed and compared. Tables, pages, the Pareto front, the verdict, pictures, comparisons,
exports and W&B read all of that here, and name no metric. Ours and those of plug-ins are registered alike, by
`register.metric`.
"""

import math
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cdeval.config.methods import Method
from cdeval.config.metrics import METRICS, Need
from cdeval.config.schema import MetricsConfig, ProtocolConfig
from cdeval.errors import CdevalError, one_line
from cdeval.metrics.compare import Settings, compare_arms
from cdeval.metrics.forms import Form, decimals
from cdeval.metrics.means import Arms, Basis, Found, Means
from cdeval.metrics.scorefile import ArmScores
from cdeval.metrics.stats import Statistic, ratio_of_sums
from cdeval.records import Comparison, Generation, document_of


class MetricError(CdevalError):
    """A metric of a plug-in broke; everything else is scored and written, and the next command tries it again."""


def raised(error: Exception) -> str:
    """Say what a plug-in raised, and where, on one line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"raised {type(error).__name__}: {one_line(error)} ({frame.filename}:{frame.lineno})"


class Better(Enum):
    """The direction in which a number is better, and the sign of a heading that says so."""

    higher = "↑"
    lower = "↓"
    human = "≈ human"  # nearer to the human texts': of likelihoods, which loops have the best of all
    none = ""  # it is described, and neither ranked nor marked

    @property
    def way(self) -> int:
        """1: higher is better, −1: lower, 0: numbers alone have no order."""
        return {"higher": 1, "lower": -1}.get(self.name, 0)


class Place(Enum):
    """The tables that show a metric."""

    main = "in every table, picture and page"
    amount = "beside the number of texts, by cdeval.score"
    diagnostic = "by cdeval.score"
    file = "in files of results, and in tables where metrics.only asks for it"
    extra = "by cdeval.score; computed where metrics.extras or metrics.only asks for it"


class Curve(NamedTuple):
    """The words beside a picture of the curves that a metric keeps of every arm."""

    title: str
    x: str
    y: str
    note: str


@dataclass(kw_only=True, eq=False)
class Metric(Method):
    """One column of the tables. A subclass computes it by `of_arm`, or by `score` where arms are read together."""

    name: str  # in files and in `metrics.only`
    label: str = ""  # in tables and on pages; the name with blanks where it is left out
    header: str = ""  # of a narrow column, on two lines; the label where it is left out
    unit: str = ""  # empty: a pure number
    better: Better = Better.none
    more: str = ""  # of an arm that has more of it, as the verdict says: more diverse
    less: str = ""
    digits: int = 3  # decimals that pages show
    form: Form | None = None  # of tables; decimals where it is left out
    ends: Form | None = None  # of an interval's ends in tables; `form` where it is left out
    fine: Form | None = None  # of both in the tables of `cdeval.score`, where published figures have more digits
    bounds: tuple[float, float] = (-math.inf, math.inf)  # no value lies outside
    place: Place = Place.main
    order: float = math.inf  # of the columns; those that have the same stand as they are registered
    below_texts: bool = False  # `cdeval.run` shows it below the number of texts
    beside: str = ""  # another metric, against which it is drawn
    curve: Curve | None = None  # of `Measured.curve`
    needs: frozenset[Need] = frozenset()
    together: str = ""  # metrics of one such name depend on all arms that are scored together; empty: on one arm

    keeps_clusters = False  # whether it renews the clusters and the curve that are kept of an arm

    def __post_init__(self) -> None:
        self.label = self.label or self.name.replace("_", " ")

    def forms(self, *, fine: bool = False) -> tuple[Form, Form]:
        """Choose how tables write a value and the ends of its interval."""
        if fine and self.fine is not None:
            return self.fine, self.fine
        form = self.form or decimals(self.digits)
        return form, self.ends or form

    @property
    def heading(self) -> str:
        """The two lines above a table's column, with unit and direction."""
        if self.header:
            return f"{self.header} {self.better.value}".rstrip()
        return f"{self.label}\n{' '.join(filter(None, (self.unit, self.better.value)))}".rstrip()

    def facts(self) -> dict[str, Any]:
        """Collect the facts that are stored beside a plug-in's scores, for readers who lack the plug-in."""
        return {"label": self.label, "unit": self.unit, "better": self.better.name, "digits": self.digits}

    def basis(self, means: Means) -> Basis:
        """Name by what an arm is scored beside its texts and the settings of intervals; no model is loaded for it."""
        parts = (means.judges.basis(need, means.config) for need in Need if need in self.needs)
        source = {"source": self.origin.digest} if self.origin is not None else {}
        return {name: value for part in (*parts, source) for name, value in part.items()}

    def basis_together(self, digests: Mapping[str, str], means: Means) -> Mapping[str, Basis]:
        """Name the basis of metrics that read arms together, by arm. Args: digests: of the texts of all of them."""
        raise NotImplementedError

    def score(self, arms: Arms, means: Means) -> Mapping[str, Found]:
        """Score arms, by label. Raises: CdevalError: a model cannot be read."""
        return {label: self.of_arm(texts, means) for label, texts in arms.items()}

    def of_arm(self, texts: Sequence[Generation], means: Means) -> Found:
        """Score one arm: rows that add up (with an interval, and compared pairwise), or a number alone."""
        raise NotImplementedError

    def statistic(self, protocol: ProtocolConfig) -> Statistic:
        """Choose how rows become a number: the mean, or sum over sum, unless a metric says otherwise."""
        return ratio_of_sums

    def evidence(self, kept: ArmScores, protocol: ProtocolConfig) -> Any:
        """Select what comparisons read of an arm; None: there is nothing, or it is counted by another protocol."""
        score = kept.scores.get(self.name)
        if score is None or score.basis.get("protocol") not in {None, protocol.diversity.name}:
            return None
        return score.rows

    def in_draws(
        self, kept: ArmScores, protocol: ProtocolConfig, prompts: Sequence[str], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The metric of an arm in resamples of the prompts; NaN where it keeps nothing that can be drawn from.

        Args:
            kept: of the arm.
            protocol: by which n-grams are counted.
            prompts: the texts that prompts were cut from; those that the arm has no value of add nothing.
            weights: how often each prompt is in each draw [draw, prompt].
        """
        rows = self.evidence(kept, protocol)
        if rows is None:
            return np.full(len(weights), math.nan)
        place = {prompt: at for at, prompt in enumerate(prompts)}
        sums = np.zeros((len(prompts), rows.values.shape[1]))
        for prompt, values in zip(rows.ids, rows.values, strict=True):
            if (at := place.get(document_of(prompt))) is not None and not np.isnan(values).any():
                sums[at] += values
        with np.errstate(all="ignore"):
            return self.statistic(protocol)((weights @ sums)[:, None])

    def compare(
        self, evidence: Mapping[str, Any], against: str, settings: Settings, protocol: ProtocolConfig
    ) -> list[Comparison]:
        """Compare every other arm with one of them, by what `evidence` found."""
        return compare_arms(evidence, self.statistic(protocol), self.name, against, settings)


def all_metrics() -> list[Metric]:
    """List every metric in the order in which they are reported."""
    return sorted(METRICS.every(), key=lambda metric: metric.order)


def own_metrics(place: Place) -> list[Metric]:
    """List the metrics of one place, without those of plug-ins that every table shows."""
    return [one for one in all_metrics() if one.place is place and (one.origin is None or place is not Place.main)]


def plugged_metrics(stored: Iterable[Metric] = ()) -> list[Metric]:
    """List the metrics of plug-ins that every table shows. Args: stored: some whose plug-ins may not be loaded."""
    every = {metric.name: metric for metric in all_metrics()}
    loaded = [one for one in every.values() if one.place is Place.main and one.origin is not None]
    return [*loaded, *{one.name: one for one in stored if one.name not in every}.values()]


def main_metrics(stored: Iterable[Metric] = ()) -> list[Metric]:
    """List what every table and page shows. Args: stored: as of `plugged_metrics`."""
    return [*own_metrics(Place.main), *plugged_metrics(stored)]


def chosen_metrics(config: MetricsConfig) -> list[Metric]:
    """List what is computed, in the order in which it is reported. Raises: ConfigError: metrics.only names another."""
    wanted = {METRICS[name].name for name in config.only}
    return [
        metric
        for metric in all_metrics()
        if metric.name in wanted or (config.extras if metric.place is Place.extra else not wanted)
    ]


def stored_metric(name: str, facts: Mapping[str, Any]) -> Metric:
    """Make a metric of what is stored beside its scores, whose plug-in may not be loaded."""
    better = str(facts.get("better"))
    digits = facts.get("digits")
    return Metric(
        name=name,
        label=str(facts.get("label") or ""),
        unit=str(facts.get("unit") or ""),
        better=Better[better] if better in Better.__members__ else Better.none,
        digits=digits if type(digits) is int and 0 <= digits <= 20 else 3,
    )
