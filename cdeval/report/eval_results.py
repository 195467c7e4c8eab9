"""A study in the hub's `.eval_results/*.yaml`, which a model's page shows: a file an arm, an entry a metric.

The format is that of hub-docs' eval_results.yaml, which `huggingface_hub.parse_eval_result_entries` reads: a benchmark
on the hub, one of its tasks, a value. The notes say which arm it is and how sure the value is, because all arms of a
study are of one model. A metric without a value has no entry.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from cdeval.config.naming import slug
from cdeval.errors import ConfigError, did_you_mean
from cdeval.metrics.registry import Metric, main_metrics
from cdeval.report.studyfiles import Arm, Study
from cdeval.store.private import masked
from cdeval.store.strict_json import encode

FOLDER = ".eval_results"


class Benchmark(NamedTuple):
    """The leaderboard's place on the hub."""

    dataset: str  # id of a data set that is registered as a benchmark
    task: str | None  # as its eval.yaml calls it; None: the metric's name
    metric: str | None  # the only one that is written; None: all that tables show


def eval_results(study: Study, benchmark: Benchmark) -> dict[str, bytes]:
    """Write the arms of a study in that form.

    Returns: the content of each file by its path below the folder of exports.
    Raises: ConfigError: the study has no such metric.
    """
    metrics = main_metrics(study.stored)
    if benchmark.metric is not None:
        known = {name for arm in study.arms for name in arm.scores}
        if benchmark.metric not in known:
            raise ConfigError(f"benchmark.metric={benchmark.metric}: {did_you_mean(benchmark.metric, known)}")
        named = {metric.name: metric for metric in metrics}
        metrics = [named.get(benchmark.metric) or Metric(name=benchmark.metric)]
    files = {}
    for arm in study.current.decoded:
        if entries := list(_entries(arm, metrics, benchmark)):
            page = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
            files[f"{FOLDER}/{slug(arm.study or study.name)}-{slug(arm.folder)}.yaml"] = encode(page)
    return files


def _entries(arm: Arm, metrics: list[Metric], benchmark: Benchmark) -> Iterator[dict[str, Any]]:
    started = arm.provenance.get("started_utc")
    for metric in metrics:
        found = arm.value(metric.name)
        if not math.isfinite(found.value):
            continue
        sure = f"; interval {found.low:.4g} to {found.high:.4g}" if math.isfinite(found.low) else ""
        yield {
            "dataset": {"id": benchmark.dataset, "task_id": benchmark.task or metric.name},
            "value": found.value,
            **({"date": started} if isinstance(started, str) else {}),
            "notes": masked(f"cdeval, {metric.label}: {arm.label}{sure}"),
        }
