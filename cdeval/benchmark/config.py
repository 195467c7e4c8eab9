"""The schema of `conf/bench.yaml`: what is timed, and how often."""

from dataclasses import dataclass, field
from enum import Enum

from cdeval.choices import AmateurKind, Executor
from cdeval.config import (
    CALIBRATED,
    AmateurConfig,
    ContrastConfig,
    ExecutionConfig,
    ExpertConfig,
    PromptsConfig,
    RunConfig,
    SearchConfig,
)
from cdeval.errors import ConfigError
from cdeval.exitconfig import Lens, Selection
from cdeval.validation import validate


class GroupName(Enum):
    """Comparisons; the arms of one group are timed in turn.

    single: one prompt, every decoder. greedy: what contrast adds to greedy search. fused: settings of one prompt in one
    pass. batch: many prompts at once. sweep: settings x prompts against sequential runs. compaction: steps between
    compactions of the cache. naive: the seed experiment's way. growth: time against new tokens, prompts and settings.
    precision: what bfloat16 changes in the texts.
    """

    single = "single"
    greedy = "greedy"
    fused = "fused"
    batch = "batch"
    sweep = "sweep"
    compaction = "compaction"
    naive = "naive"
    growth = "growth"
    precision = "precision"


@dataclass
class BenchConfig:
    """Sizes of the comparisons."""

    groups: list[GroupName] = field(default_factory=lambda: list(GroupName))
    new_tokens: int = 128  # of every text, but where a group sets its own
    beams: int = 5
    repeats: int = 5  # timed passes an arm, after one full-length warm-up, in the groups single, greedy and fused
    slow_repeats: int = 3  # the same in the other groups, whose passes take minutes
    batch_sizes: list[int] = field(default_factory=lambda: [1, 8, 32])  # prompts at once, of group batch
    fused_settings: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16])
    sweep_settings: int = 8
    sweep_prompts: int = 16
    compact_every: list[int] = field(default_factory=lambda: [0, 2, 4, 8, 16, 32])
    compaction_tokens: int = 256
    compaction_prompts: list[int] = field(default_factory=lambda: [1, 8])
    naive_tokens: int = 80
    growth_tokens: list[int] = field(default_factory=lambda: [64, 128, 256, 512])
    growth_prompts: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16, 32, 64])
    precision_prompts: int = 64
    help_peers: bool = (
        True  # spare Hugging Face's prefill a slow path of torch (peers.contiguous_head); false: as it is
    )


@dataclass
class BenchRun:
    """The root of `conf/bench.yaml`; `expert.dtype` is not read, as every number format has its own arms."""

    expert: ExpertConfig = field(default_factory=ExpertConfig)
    amateur: AmateurConfig = field(default_factory=AmateurConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    bench: BenchConfig = field(default_factory=BenchConfig)
    runs: str = "runs"  # results go to <runs>/bench/
    seed: int = 0  # chooses the prompts


_COUNTS = (
    "new_tokens",
    "beams",
    "repeats",
    "slow_repeats",
    "sweep_settings",
    "sweep_prompts",
    "compaction_tokens",
    "naive_tokens",
)
_COUNT_LISTS = ("batch_sizes", "fused_settings", "growth_tokens", "growth_prompts", "compaction_prompts")


def validate_bench(config: BenchRun) -> BenchRun:
    """Check every range and combination that needs no model; returns the same object.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    validate(as_run(config))
    for name in (*_COUNTS, "precision_prompts"):
        if getattr(config.bench, name) < 1:
            raise ConfigError(f"bench.{name}={getattr(config.bench, name)} is out of range: expected at least 1.")
    for name in _COUNT_LISTS:
        counts = getattr(config.bench, name)
        if not counts or min(counts) < 1:
            raise ConfigError(f"bench.{name}={counts} is out of range: expected at least one number, all at least 1.")
    if not config.bench.compact_every or min(config.bench.compact_every) < 0:
        raise ConfigError(
            f"bench.compact_every={config.bench.compact_every} is out of range: expected at least one number, "
            "all at least 0; 0 never compacts."
        )
    if not config.bench.groups:
        raise ConfigError(
            f"bench.groups=[] times nothing: expected some of {', '.join(name.name for name in GroupName)}."
        )
    if config.execution.kind is not Executor.local:
        raise ConfigError(f"execution={config.execution.kind.name}: the bench times this process; leave it out.")
    if config.amateur.kind is not AmateurKind.early_exit:
        raise ConfigError(
            f"amateur={config.amateur.kind.name}: the bench times a contrast, and needs amateur=early_exit."
        )
    plain = config.amateur.lens is Lens.norm and config.amateur.selection is Selection.fixed
    if not plain or not isinstance(config.amateur.layer, int) or config.contrast.temperature == CALIBRATED:
        raise ConfigError(
            "the bench times one exit layer through the final norm at one temperature: give amateur.layer in "
            "blocks, contrast.temperature as a number, and leave amateur.lens and amateur.selection out."
        )
    return config


def as_run(config: BenchRun) -> RunConfig:
    """The study's configuration whose early-exit contrastive beam search is timed."""
    return RunConfig(
        expert=config.expert,
        amateur=config.amateur,
        contrast=config.contrast,
        search=SearchConfig(beams=config.bench.beams, max_new_tokens=config.bench.new_tokens),
        prompts=config.prompts,
        execution=config.execution,
        runs=config.runs,
        seed=config.seed,
    )
