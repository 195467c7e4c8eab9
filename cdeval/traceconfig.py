"""The schema of `conf/trace.yaml`: one prompt and one setting; checked once, at the door."""

from dataclasses import dataclass, field

from cdeval.config import AmateurConfig, ContrastConfig, ExpertConfig, PromptsConfig, RunConfig, SearchConfig
from cdeval.errors import ConfigError
from cdeval.validation import require_stored, validate


@dataclass
class TraceRun:
    """The root of `conf/trace.yaml`."""

    prompt: str | None = None  # to be continued; or
    id: str | None = None  # of one of `prompts`, as generations.jsonl has it
    candidates: int = 8  # of the expert's likeliest tokens that are kept at each step
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    amateur: AmateurConfig = field(default_factory=AmateurConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    runs: str = "runs"  # results go to <runs>/trace/
    out: str | None = None  # the page to be written instead; its JSON beside it
    seed: int = 0  # of what sampling draws


def validate_trace(config: TraceRun) -> TraceRun:
    """Check every range and combination that needs no model; returns the same object.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    if (config.prompt is None) == (config.id is None):
        raise ConfigError('give either prompt="…", or id= of a prompt of prompts=, such as id=news-0012.')
    if not 1 <= config.candidates <= 100:
        raise ConfigError(f"candidates={config.candidates} is out of range: expected 1 to 100.")
    if config.out is not None and not config.out.endswith(".html"):
        raise ConfigError(f"out={config.out} is no file name for this: expected one that ends with .html.")
    require_stored(config.expert, "cdeval.trace")
    validate(as_run(config))
    return config


def as_run(config: TraceRun) -> RunConfig:
    """The setting as a study has it."""
    return RunConfig(
        expert=config.expert,
        amateur=config.amateur,
        contrast=config.contrast,
        search=config.search,
        prompts=config.prompts,
        runs=config.runs,
        seed=config.seed,
    )
