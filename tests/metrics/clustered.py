"""MAUVE and its relatives of some arms at once, as a study computes them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cdeval.config.metrics import METRICS
from cdeval.config.schema import MetricsConfig
from cdeval.metrics.codebook import Codes
from cdeval.metrics.features import NO_CACHE, FeatureCache
from cdeval.metrics.judges.opening import Judges
from cdeval.metrics.judges.scorer import TextReader
from cdeval.metrics.mauve import MEASURES
from cdeval.metrics.means import Means, measured
from cdeval.records import Estimate, Generation


class MauveOfArms(NamedTuple):
    """By arm; curves and codes of those that have a value."""

    estimates: dict[str, dict[str, Estimate]]
    curves: dict[str, Sequence[tuple[float, float]]]
    codes: dict[str, Codes]


def mauve_of_arms(
    arms: Mapping[str, Sequence[Generation]],
    human: Sequence[Generation] | None,
    reader: TextReader,
    config: MetricsConfig,
    seed: int,
    cache: FeatureCache = NO_CACHE,
) -> MauveOfArms:
    """Score arms by each of `MEASURES`."""
    other = reader.scorer if reader.retokenise else None
    judges = Judges(None if reader.retokenise else reader.scorer, "", featurizer=other, cache=cache)
    means = Means(judges, config, seed, human=human)
    by_metric = {name: METRICS[name].score(arms, means) for name in MEASURES}
    found = {
        label: {name: measured(of_arms[label], means.settings) for name, of_arms in by_metric.items()} for label in arms
    }
    first = {label: next(iter(of_arm.values())) for label, of_arm in found.items()}
    return MauveOfArms(
        {label: {name: one.estimate for name, one in of_arm.items()} for label, of_arm in found.items()},
        {label: one.curve for label, one in first.items() if one.curve},
        {label: one.codes for label, one in first.items() if one.codes is not None},
    )
