"""The registry of metrics, and the settings of `metrics.*` that some of them read.

What a metric knows about itself is in its own file in `cdeval.metrics`, which is imported when a name is looked up.
"""

from collections.abc import Collection, Sequence
from enum import Enum
from typing import Any

from cdeval.config.fields import When
from cdeval.config.methods import Registry


class Need(Enum):
    """A resource of a metric beside the words of the texts; what takes longer to open comes later."""

    references = "the human texts"
    tokens = "the texts' token ids"
    embedder = "metrics.embedder"
    scorer = "metrics.scorer"
    featurizer = "metrics.mauve_features"


LANGUAGE_MODELS = frozenset({Need.scorer, Need.featurizer})
IN_TOKENS = LANGUAGE_MODELS | {Need.tokens}  # needs for which texts must have token ids

METRICS: Registry[Any] = Registry("metrics.only", "cdeval.metrics", typed="metrics.only=[{}]")  # of `metrics.registry`


def needs_of(metrics: Collection[Any]) -> frozenset[Need]:
    """Unite the needs of several metrics."""
    return frozenset[Need]().union(*(metric.needs for metric in metrics))


def read_by(need: Need) -> When:
    """Make the condition that a metric with this need is computed."""

    def holds(chosen: Sequence[str]) -> bool:
        return not chosen or need in needs_of([METRICS[name] for name in chosen])

    def remedy() -> str:
        return f"add {next(metric.name for metric in METRICS.every() if need in metric.needs)} to metrics.only"

    return When("metrics.only", holds, remedy)
