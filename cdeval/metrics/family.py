"""All comparisons of a study against one of its arms: every metric, every other arm, corrected as one family."""

from collections.abc import Mapping
from typing import NamedTuple

from cdeval.metrics.codebook import MEASURES, Codes, compare_mauve
from cdeval.metrics.compare import ArmRows, Settings, compare_arms, with_holm
from cdeval.metrics.stats import Statistic
from cdeval.records import Comparison


class MetricRows(NamedTuple):
    """What one metric knows of every arm's texts, and how it makes a number of them."""

    rows: Mapping[str, ArmRows]  # by arm
    statistic: Statistic  # of sums of rows: see `compare_arms`


def compare_metrics(
    metrics: Mapping[str, MetricRows], codes: Mapping[str, Codes], against: str, settings: Settings
) -> list[Comparison]:
    """Every metric of every other arm against one of them.

    Args:
        metrics: per-text metrics by name.
        codes: clusters by arm, for MAUVE and its relatives; arms without MAUVE are left out, and all are where
            `against` has none.
        against: the arm that is subtracted.
        settings: confidence, draws, seed.

    Returns: metric by metric; Holm's correction counts all of them that have a p-value.

    Raises: ValueError: `against` has no rows, or a statistic is not one of sums.
    """
    found = [
        comparison
        for name, metric in metrics.items()
        for comparison in compare_arms(metric.rows, metric.statistic, name, against, settings)
    ]
    if against in codes:
        found += [comparison for name in MEASURES for comparison in compare_mauve(codes, name, against, settings)]
    return with_holm(found)
