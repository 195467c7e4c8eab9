"""The schema of `conf/tasks.yaml`: tasks, the arms that answer, how they are compared; checked once, at the door."""

from dataclasses import dataclass, field
from enum import Enum

from cdeval.config.enums import Ban, SearchKind
from cdeval.config.fields import check_values, number
from cdeval.config.plugins import TakesPlugins
from cdeval.config.schema import (
    MOST_SEED,
    AmateurConfig,
    ContrastConfig,
    ExecutionConfig,
    ExpertConfig,
    RunConfig,
    SearchConfig,
)
from cdeval.config.validation import require_stored, validate, validate_study_name
from cdeval.errors import ConfigError


class TaskLikelihood(Enum):
    """The distribution by which choices and texts are weighed.

    contrast: of each arm, redistributed as in auto-contrastive decoding. expert: the expert's, in every arm.
    """

    contrast = "contrast"
    expert = "expert"


@dataclass
class TasksRun(TakesPlugins):
    """The root of `conf/tasks.yaml`."""

    tasks: list[str] = field(default_factory=list)  # names of tasks or groups that lm_eval knows
    include: list[str] = field(default_factory=list)  # folders with the YAML files of further tasks
    # Lines of an arm's name or overrides, as of `cdeval.tune`; empty: the setting that is typed, and the expert alone.
    arms: list[str] = field(default_factory=list)
    # Place of the arm that the others are compared with, from 1; null: the last one.
    against: int | None = number(None, least=1, most=10_000)
    limit: int | None = number(None, least=1, most=100_000_000, hint="null is all of them")  # items a task, the first
    fewshot: int | None = number(None, least=0, most=1000, hint="null is what the task says")  # examples before an item
    chat_template: bool = False  # wrap contexts by the tokenizer's template
    likelihood: TaskLikelihood = TaskLikelihood.contrast
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    amateur: AmateurConfig = field(default_factory=AmateurConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    search: SearchConfig = field(
        default_factory=lambda: SearchConfig(SearchKind.greedy, beams=1, max_new_tokens=256, ban=Ban.none)
    )
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    # Of the intervals.
    confidence: float = number(0.95, least=0, open_least=True, most=0.999, hint="0.95 is usual")
    bootstrap_draws: int = number(2000, least=100, most=100_000)  # resamples of the items
    study: str = "tasks"  # results go to <runs>/<study>/
    runs: str = "runs"  # folder of all studies
    seed: int = number(0, least=0, most=MOST_SEED)  # of the draws, of few-shot examples and of the resamples


def validate_tasks(config: TasksRun) -> TasksRun:
    """Check what needs no model and no task; returns the same object.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_values(config)
    validate_study_name("study", config.study)
    require_stored(config.expert, "cdeval.tasks")
    if not config.tasks:
        raise ConfigError("tasks= has no value: give names of lm_eval's tasks, as tasks=[gsm8k], or +task=gsm8k.")
    for name, given in (("tasks", config.tasks), ("arms", config.arms)):
        twice = sorted({one for one in given if given.count(one) > 1})
        if twice:
            raise ConfigError(f"{name}: {twice[0]!r} stands there twice. Leave one out.")
    arms = len(config.arms) or 2
    if config.against is not None and config.against > arms:
        raise ConfigError(f"against={config.against}: there are {arms} arms. Give the place of one of them.")
    validate(as_run(config))
    return config


def as_run(config: TasksRun) -> RunConfig:
    """The setting of one arm as a study has it."""
    return RunConfig(
        expert=config.expert,
        amateur=config.amateur,
        contrast=config.contrast,
        search=config.search,
        execution=config.execution,
        seed=config.seed,
        controls=False,
    )
