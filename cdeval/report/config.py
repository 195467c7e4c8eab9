"""The schema of `conf/report.yaml`: which studies are shown; checked once, at the door."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cdeval.config.fields import TextForm, check_values, only, read_when, text
from cdeval.config.showing import ShowsResults
from cdeval.errors import ConfigError


class Interchange(Enum):
    """The form in which a study is written for other programs, beside its report."""

    none = "none"
    every_eval_ever = "every_eval_ever"
    eval_results = "eval_results"


class Relationship(Enum):
    """How whoever ran the study is related to who made the model, by the words of Every Eval Ever."""

    first_party = "first_party"
    third_party = "third_party"
    collaborative = "collaborative"
    other = "other"


@dataclass
class EvaluatorConfig:
    """Who ran the study, for `export=every_eval_ever`."""

    organization: str = text("unknown", TextForm.prose, label=True)  # its name, as the data store shows it
    relationship: Relationship = Relationship.third_party


@dataclass
class BenchmarkConfig:
    """The leaderboard on the hub to which the numbers belong, for `export=eval_results`."""

    dataset: str | None = text(None, label=True)  # id of the benchmark's data set on the hub, as user/name
    task: str | None = text(None, label=True)  # of the benchmark, as its eval.yaml has it; null: the metric's name
    metric: str | None = None  # the only one that is written; null: all that tables show


@dataclass
class ReportRun(ShowsResults):
    """The root of `conf/report.yaml`."""

    study: Any = text(None, TextForm.lines)  # folder or name of a study; a list of them shares one page
    runs: str = "runs"  # folder in which studies are looked up by their names
    out: str | None = None  # folder of the page that several studies share; null: beside the first, named after all
    export: Interchange = Interchange.none  # also write the study in this form, into <its folder>/exports
    evaluator: EvaluatorConfig = read_when(only("export", Interchange.every_eval_ever), factory=EvaluatorConfig)
    benchmark: BenchmarkConfig = read_when(only("export", Interchange.eval_results), factory=BenchmarkConfig)


def validate_report(config: ReportRun) -> ReportRun:
    """A single folder becomes a list of one.

    Raises: ConfigError: no folder is named, something that is no path, a place for one study's report, or an export
        without what it needs.
    """
    check_values(config)
    given = config.study if isinstance(config.study, list) else [] if config.study is None else [config.study]
    if not given:
        raise ConfigError(
            "study= has no value: give a study's folder, as study=runs/embedded, or several as study=[a,b]."
        )
    if not all(isinstance(path, str | int) and path != "" for path in given):
        raise ConfigError(f"study={config.study!r}: expected a folder, or a list of folders as study=[a,b].")
    config.study = [str(path) for path in given]  # a folder may be called 1
    if config.out is not None and len(given) == 1:
        raise ConfigError(
            f"out={config.out} is not read with one study, whose report lies in its own folder: give several, as "
            "study=[a,b], or leave out= out."
        )
    if config.export is Interchange.eval_results:
        _check_benchmark(config.benchmark)
    return config


def _check_benchmark(benchmark: BenchmarkConfig) -> None:
    if benchmark.dataset is None or not re.fullmatch(r"[\w.-]+/[\w.-]+", benchmark.dataset):
        raise ConfigError(
            f"benchmark.dataset={benchmark.dataset or ''}: export=eval_results needs the benchmark's data set on the "
            "hub, as benchmark.dataset=user/name."
        )
    if benchmark.task is not None and benchmark.metric is None:
        raise ConfigError(
            f"benchmark.task={benchmark.task} is one number of a leaderboard: name the metric that it is, as "
            "benchmark.metric=mauve."
        )
