"""The schema of `conf/trace.yaml`: one prompt and one setting; checked once, at the door."""

from dataclasses import dataclass, field

from cdeval.config.enums import Split
from cdeval.config.fields import TextForm, When, check_values, number, read_when, text
from cdeval.config.plugins import TakesPlugins
from cdeval.config.schema import (
    MOST_SEED,
    AmateurConfig,
    ContrastConfig,
    ExpertConfig,
    PromptsConfig,
    RunConfig,
    SearchConfig,
)
from cdeval.config.validation import require_stored, validate
from cdeval.errors import ConfigError

_LISTED = When("id", lambda name: name is not None, "give id= of one of the prompts instead of prompt=")


@dataclass
class TraceRun(TakesPlugins):
    """The root of `conf/trace.yaml`."""

    prompt: str | None = text(None, TextForm.prose)  # to be continued whole; or `id`
    id: str | None = text(None, label=True)  # of one of `prompts`, as generations.jsonl has it
    # Of the expert's likeliest tokens that are kept at each step.
    candidates: int = number(8, least=1, most=100)
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    amateur: AmateurConfig = field(default_factory=AmateurConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    search: SearchConfig = field(default_factory=lambda: SearchConfig(max_new_tokens=64))
    prompts: PromptsConfig = read_when(_LISTED, factory=lambda: PromptsConfig(limit=None, split=Split.all))
    runs: str = "runs"  # results go to <runs>/trace/
    out: str | None = None  # the page to be written instead; its JSON beside it
    seed: int = number(0, least=0, most=MOST_SEED)  # of what sampling draws


def validate_trace(config: TraceRun) -> TraceRun:
    """Check every range and combination that needs no model; returns the same object.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_values(config)
    if (config.prompt is None) == (config.id is None):
        raise ConfigError('give either prompt="…", or id= of a prompt of prompts=, such as id=news-0012.')
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
