"""The schema of `conf/calibrate.yaml`: which thresholds of the expert's early exits are tested, for which promise."""

from dataclasses import dataclass, field, replace

from cdeval.choices import AmateurKind, Executor, Split
from cdeval.config import (
    AmateurConfig,
    ContrastConfig,
    ExecutionConfig,
    ExpertConfig,
    PromptsConfig,
    RunConfig,
    SearchConfig,
)
from cdeval.errors import ConfigError
from cdeval.validation import require_stored, validate


@dataclass
class CalibrateRun:
    """The root of `conf/calibrate.yaml`."""

    thresholds: list[float] = field(default_factory=lambda: [1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5])  # λ, tested in turn
    tolerance: float = 0.25  # δ, in (0, 1): the mean risk that is promised at most
    level: float = 0.05  # ε, in (0, 1): the probability that the promise is broken, at most
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    amateur: AmateurConfig = field(default_factory=lambda: AmateurConfig(kind=AmateurKind.none))
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    search: SearchConfig = field(default_factory=SearchConfig)  # its exits but for their threshold
    prompts: PromptsConfig = field(default_factory=PromptsConfig)  # calibrated on its split, tested on the other one
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    runs: str = "runs"  # results go to <runs>/calm/calibration.json
    out: str | None = None  # the JSON file to be written instead
    seed: int = 0  # chooses the prompts, and what sampling draws


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
    require_stored(config.expert, "cdeval.calibrate")
    grid = config.thresholds
    shown = f"[{','.join(f'{value:g}' for value in grid)}]"
    if not grid or not all(0 <= value <= 1 for value in grid):
        raise ConfigError(f"thresholds={shown} is out of range: expected at least one number, each in [0, 1].")
    if grid != sorted(set(grid), reverse=True):
        raise ConfigError(
            f"thresholds={shown}: they are tested in turn from the most cautious one down, until one fails. "
            "Give them in falling order, each once."
        )
    for name, value in (("tolerance", config.tolerance), ("level", config.level)):
        if not 0 < value < 1:
            raise ConfigError(f"{name}={value} is out of range: expected a number in (0, 1).")
    given = config.search.adaptive_exit.threshold
    if given is not None:
        raise ConfigError(f"search.adaptive_exit.threshold={given} is what is looked for: use thresholds=[...].")
    if config.search.samples != 1:
        raise ConfigError(f"search.samples={config.search.samples}: calibration reads one text a prompt; leave it out.")
    if config.prompts.split is Split.all:
        raise ConfigError(
            "prompts.split=all: a threshold is calibrated on one split and tested on the other; expected tune or test."
        )
    if config.execution.kind is not Executor.local:
        raise ConfigError(f"execution={config.execution.kind.name}: calibration decodes in this process; leave it out.")
    if config.out is not None and not config.out.endswith(".json"):
        raise ConfigError(f"out={config.out} is no file name for this: expected one that ends with .json.")
    validate(as_run(config))
    return config
