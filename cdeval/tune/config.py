"""The schema of `conf/tune.yaml`: a study's settings, the arms that are tuned, and what is chosen by."""

import math
from dataclasses import dataclass, field, fields
from typing import Any

from cdeval.config.enums import PromptSource, Split, Tracker
from cdeval.config.fields import check_values, number, text
from cdeval.config.methods import extended
from cdeval.config.metrics import METRICS
from cdeval.config.schema import CostConfig, PromptsConfig, RunConfig
from cdeval.config.tracking import TrackingConfig
from cdeval.config.validation import require_stored, validate, validate_study_name
from cdeval.errors import ConfigError


@dataclass
class TuneRun(RunConfig):
    """The root of `conf/tune.yaml`; the other settings are those of a study, of all arms."""

    # Lines of an arm's name or overrides and its grid (`cdeval.config.grids`).
    arms: list[str] = field(default_factory=list)
    prompts: PromptsConfig = field(default_factory=lambda: PromptsConfig(split=Split.tune))
    cost: CostConfig = field(default_factory=lambda: CostConfig(latency_repeats=0))
    tracking: TrackingConfig = field(default_factory=lambda: TrackingConfig(kind=Tracker.none))
    study: str = "tune"  # results go to <runs>/<study>/
    settings: int = number(12, least=1, most=10_000, hint="the same for every arm")
    criterion: str = text("diversity*coherence")  # a metric that is to be best, or a product of some
    at_least: dict[str, Any] = field(default_factory=dict)  # least values by metric: less is never chosen
    spaces: dict[str, Any] = field(default_factory=dict)  # grids of arms that are given by name alone
    tune_on_test: bool = False  # also where the prompts are those that results are reported on


def as_run(config: TuneRun) -> RunConfig:
    """Keep a study's settings. Raises: ConfigError: one is out of range."""
    root = extended(RunConfig)
    return validate(root(**{one.name: getattr(config, one.name) for one in fields(root)}))


def validate_tune(config: TuneRun) -> TuneRun:
    """Check what is the same for all arms; returns the same object.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_values(config)
    require_stored(config.expert, "cdeval.tune")
    validate_study_name("study", config.study)
    for name in config.metrics.only:
        METRICS[name]
    for name, least in config.at_least.items():
        if isinstance(least, bool) or not isinstance(least, int | float) or not math.isfinite(least):
            raise ConfigError(f"at_least={{{name}:{least}}}: expected a finite number, as at_least={{{name}:0.4}}.")
    if not config.arms:
        raise ConfigError("arms=[] tunes nothing: expected names of arms or overrides, as arms=[nucleus,min_p].")
    twice = sorted({line for line in config.arms if config.arms.count(line) > 1})
    if twice:
        raise ConfigError(f"arms: {twice[0]!r} stands there twice: its settings would be tried once. Leave one out.")
    if config.tried is not None:
        raise ConfigError(f"tried={config.tried} is what is recorded of an arm that was chosen: use settings=.")
    splits = config.prompts.source is not PromptSource.file
    if splits and config.prompts.split is not Split.tune and not config.tune_on_test:
        raise ConfigError(
            f"prompts.split={config.prompts.split.name}: settings are chosen on the tuning split, and results are "
            "reported on the test split, which must not be seen before. Leave it out, or say tune_on_test=true."
        )
    return config
