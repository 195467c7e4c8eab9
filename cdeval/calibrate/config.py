"""The schema of `conf/calibrate.yaml`: which thresholds of the expert's early exits are tested, for which promise."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from cdeval.config.enums import ExecutorKind, SearchKind, Split
from cdeval.config.exits import AdaptiveExitConfig
from cdeval.config.fields import check_values, number, shown
from cdeval.config.plugins import TakesPlugins
from cdeval.config.schema import (
    MOST_SEED,
    AmateurConfig,
    BothSplits,
    ContrastConfig,
    ExecutionConfig,
    ExpertConfig,
    RunConfig,
    SearchConfig,
)
from cdeval.config.validation import require_stored, validate
from cdeval.errors import ConfigError


def _calm() -> SearchConfig:
    """Make the settings of search=calm, whose threshold is what is looked for."""
    exits = AdaptiveExitConfig(layers=[0.7, 0.8, 0.9])
    return SearchConfig(kind=SearchKind.greedy, beams=1, max_new_tokens=64, adaptive_exit=exits)


@dataclass
class CalibrateRun(TakesPlugins):
    """The root of `conf/calibrate.yaml`."""

    # Settings whose place another one takes in this command: the exits' threshold is what is looked for.
    decided_by: ClassVar[Mapping[str, str]] = {"search.adaptive_exit.threshold": "thresholds"}

    # λ, tested in turn.
    thresholds: list[float] = number(factory=lambda: [1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5], least=0, most=1)
    # δ: the mean risk that is promised at most.
    tolerance: float = number(0.25, least=0, open_least=True, most=1, open_most=True)
    # ε: the probability that the promise is broken, at most.
    level: float = number(0.05, least=0, open_least=True, most=1, open_most=True)
    # Numbers of test prompts that are decoded together to time a token at every λ; [] times nothing.
    timed_prompts: list[int] = number(factory=lambda: [1], least=1, most=10_000)
    timed_repeats: int = number(2, least=1, most=10_000)  # passes that are timed, after one that is not
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    amateur: AmateurConfig = field(default_factory=lambda: AmateurConfig(kind="none"))
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    search: SearchConfig = field(default_factory=_calm)  # its exits but for their threshold
    prompts: BothSplits = field(default_factory=BothSplits)  # calibrated on its split, tested on the other one
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    runs: str = "runs"  # results go to <runs>/calm/calibration.json
    out: str | None = None  # the JSON file to be written instead
    seed: int = number(0, least=0, most=MOST_SEED)  # chooses the prompts, and what sampling draws


def as_run(config: CalibrateRun) -> RunConfig:
    """The study of the first threshold."""
    own = replace(config.search.adaptive_exit, threshold=config.thresholds[0])
    return RunConfig(
        expert=config.expert,
        amateur=config.amateur,
        contrast=config.contrast,
        search=replace(config.search, adaptive_exit=own),
        prompts=config.prompts,
        execution=config.execution,
        runs=config.runs,
        seed=config.seed,
    )


def validate_calibration(config: CalibrateRun) -> CalibrateRun:
    """Check every range and combination that needs no model; returns the same object.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_values(config)
    require_stored(config.expert, "cdeval.calibrate")
    grid = config.thresholds
    if not grid:
        raise ConfigError("thresholds=[] tests nothing: expected at least one number, each in [0, 1].")
    if grid != sorted(set(grid), reverse=True):
        raise ConfigError(
            f"thresholds={shown(grid)}: they are tested in turn from the most cautious one down, until one fails. "
            "Give them in falling order, each once."
        )
    given = config.search.adaptive_exit.threshold
    if given is not None:
        raise ConfigError(f"search.adaptive_exit.threshold={given} is what is looked for: use thresholds=[...].")
    if config.search.samples != 1:
        raise ConfigError(f"search.samples={config.search.samples}: calibration reads one text a prompt; leave it out.")
    if config.prompts.split is Split.all:
        raise ConfigError(
            "prompts.split=all: a threshold is calibrated on one split and tested on the other; expected tune or test."
        )
    if config.execution.kind is not ExecutorKind.local:
        raise ConfigError(f"execution={config.execution.kind.name}: calibration decodes in this process; leave it out.")
    if config.out is not None and not config.out.endswith(".json"):
        raise ConfigError(f"out={config.out} is no file name for this: expected one that ends with .json.")
    validate(as_run(config))
    return config
