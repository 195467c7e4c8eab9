"""Metrics as judges: of two texts, the one that has more of what a metric counts, or less where less is better.

A metric that scores text by text is read off its rows. One that has a number of all texts alone, and needs no model, is
asked for the number of each text by itself. What has no value of a single text (MAUVE, which compares many; a metric
that says the same of any one text) is named and left out.

Nearer to the human text's value, or none, is no direction between two texts: there the text with more is taken, and an
agreement below 1/2 says that people prefer less.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from cdeval.config.metrics import Need
from cdeval.config.schema import MetricsConfig, ProtocolConfig
from cdeval.judge.rated import RatedPair
from cdeval.metrics.judges.opening import Judges
from cdeval.metrics.means import Means, measured
from cdeval.metrics.registry import Metric, all_metrics
from cdeval.metrics.suite import score_study
from cdeval.prompts.tokens import with_tokens
from cdeval.records import Generation

_MANY = frozenset({Need.references, Need.featurizer})


class MetricPreferences(NamedTuple):
    """What a metric prefers of each pair."""

    metric: Metric
    preferences: tuple[float, ...]  # above 0 for a, below 0 for b, 0 for neither; NaN: no value

    @property
    def prefers(self) -> str:
        """Which of two values it prefers."""
        return "less" if self.metric.better.way < 0 else "more"


def metrics_of_texts(config: MetricsConfig) -> list[Metric]:
    """List the metrics that may say something of a single text; those that are named, or all."""
    return [one for one in all_metrics() if not one.needs & _MANY and (not config.only or one.name in config.only)]


def preferences_of(
    pairs: Sequence[RatedPair],
    chosen: Sequence[Metric],
    judges: Judges,
    config: MetricsConfig,
    protocol: ProtocolConfig,
    seed: int,
) -> tuple[list[MetricPreferences], list[str]]:
    """Score both texts of each pair by every metric.

    Returns: preferences by metric; the labels of metrics that say nothing of single texts.

    Raises: CdevalError: as `score_study`.
    """
    sides = [_side(pairs, side, judges) for side in (0, 1)]
    arms = dict(zip("ab", sides, strict=True))
    only = replace(config, only=[metric.name for metric in chosen], extras=False)
    scored = score_study(arms, None, judges, only, seed, protocol)
    means = Means(judges, config, seed, protocol)
    found, without = [], []
    for metric in chosen:
        values = []
        for label, texts in arms.items():
            score = scored.kept[label].scores.get(metric.name)
            rows = None if score is None else score.rows
            values.append(_alone(metric, texts, means) if rows is None else _of_rows(metric, rows.values, protocol))
        signs = np.sign(values[0] - values[1])
        if np.isnan(signs).all() or not np.nan_to_num(signs).any():
            without.append(metric.label)
        else:
            way = -1.0 if metric.better.way < 0 else 1.0
            found.append(MetricPreferences(metric, tuple((way * signs).tolist())))
    return found, without


def _side(pairs: Sequence[RatedPair], side: int, judges: Judges) -> list[Generation]:
    """One text of each pair; pairs are told apart by their places, since several may be of one prompt."""
    texts = [pair.generation(side, f"{place}") for place, pair in enumerate(pairs)]
    return texts if judges.scorer is None else with_tokens(texts, judges.scorer.tokenizer)


def _of_rows(metric: Metric, rows: np.ndarray, protocol: ProtocolConfig) -> np.ndarray:
    """The metric of each text, from its row."""
    with np.errstate(all="ignore"):
        return np.asarray(metric.statistic(protocol)(rows[:, None]), dtype=np.float64)


def _alone(metric: Metric, texts: Sequence[Generation], means: Means) -> np.ndarray:
    """The metric of each text as if it were an arm; NaN where that takes a model."""
    if metric.needs or metric.together:
        return np.full(len(texts), math.nan)
    return np.array([measured(metric.of_arm([text], means), means.settings).estimate.value for text in texts])
