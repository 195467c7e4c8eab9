"""The schema of `conf/bench.yaml`: what is timed, and how often."""

from dataclasses import dataclass, field
from enum import Enum

from cdeval.config.enums import ExecutorKind
from cdeval.config.exits import Lens, Selection
from cdeval.config.fields import check_values, leaves, number
from cdeval.config.pairs import check_pairs
from cdeval.config.plugins import TakesPlugins
from cdeval.config.schema import (
    CALIBRATED,
    MOST_SEED,
    AmateurConfig,
    ContrastConfig,
    ExecutionConfig,
    ExpertConfig,
    PromptsConfig,
    RunConfig,
    SearchConfig,
)
from cdeval.config.validation import validate
from cdeval.errors import ConfigError


class GroupName(Enum):
    """Comparisons; the arms of one group are timed in turn.

    single: one prompt, every decoder. greedy: what contrast adds to greedy search. fused: settings of one prompt in one
    pass. batch: many prompts at once. sweep: settings x prompts against sequential runs. compaction: steps between
    compactions of the cache. naive: the seed experiment's way. growth: time against new tokens, prompts and settings.
    precision: what bfloat16 changes in the texts. shapes: one prompt and many at the shapes of `bench.pairs`, with
    random weights, for a GPU (`+preset=gpu`); not among the usual ones.
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
    shapes = "shapes"


OF_EXPERT = tuple(name for name in GroupName if name is not GroupName.shapes)  # that decode with `expert`

_USUAL = "embedded:smollm2"  # conf/bench.yaml's expert
_TOKENS, _LANES, _PASSES = 1_000_000, 100_000, 10_000  # upper bounds: of a text, of texts at once, of repetitions


@dataclass
class BenchConfig:
    """Sizes of the comparisons."""

    groups: list[GroupName] = field(default_factory=lambda: list(OF_EXPERT))  # comparisons that are timed
    new_tokens: int = number(128, least=1, most=_TOKENS)  # of every text, but where a group sets its own
    beams: int = number(5, least=1, most=1000)  # of every beam search
    # Timed passes an arm, after one full-length warm-up, in the groups single, greedy, fused and shapes.
    repeats: int = number(5, least=1, most=_PASSES)
    # The same in the other groups, whose passes take minutes.
    slow_repeats: int = number(3, least=1, most=_PASSES)
    # Prompts at once, of group batch.
    batch_sizes: list[int] = number(factory=lambda: [1, 8, 32], least=1, most=_LANES)
    # Settings of one prompt in one pass, of group fused.
    fused_settings: list[int] = number(factory=lambda: [1, 2, 4, 8, 16], least=1, most=_LANES)
    sweep_settings: int = number(8, least=1, most=_LANES)  # of group sweep
    sweep_prompts: int = number(16, least=1, most=_LANES)  # of group sweep
    compact_every: list[int] = number(
        factory=lambda: [0, 2, 4, 8, 16, 32], least=0, most=_TOKENS, hint="0 never compacts"
    )
    compaction_tokens: int = number(256, least=1, most=_TOKENS)  # new tokens of group compaction
    # Prompts at once, of group compaction.
    compaction_prompts: list[int] = number(factory=lambda: [1, 8], least=1, most=_LANES)
    naive_tokens: int = number(80, least=1, most=_TOKENS)  # new tokens of group naive
    # New tokens of group growth, in turn.
    growth_tokens: list[int] = number(factory=lambda: [64, 128, 256, 512], least=1, most=_TOKENS)
    # Prompts of group growth, in turn.
    growth_prompts: list[int] = number(factory=lambda: [1, 2, 4, 8, 16, 32, 64], least=1, most=_LANES)
    precision_prompts: int = number(64, least=1, most=_LANES)  # of group precision
    # Of group shapes: an expert, whose first blocks are the small model, or an expert+amateur; names of
    # conf/architecture/, hub ids or local folders.
    pairs: list[str] = field(default_factory=lambda: ["gpt2-xl+gpt2", "opt-1.3b+opt-125m", "smollm2-135m"])
    shape_prompts: int = number(32, least=1, most=_LANES)  # at once, of group shapes, beside one
    # Since the command began, after which no group is begun that would end later; null: no limit.
    minutes: float | None = number(None, least=0, open_least=True, most=100_000)
    help_peers: bool = (
        True  # spare Hugging Face's prefill a slow path of torch (peers.contiguous_head); false: as it is
    )


@dataclass
class BenchRun(TakesPlugins):
    """The root of `conf/bench.yaml`; `expert.dtype` is not read, as every number format has its own arms."""

    expert: ExpertConfig = field(default_factory=ExpertConfig)
    amateur: AmateurConfig = field(default_factory=AmateurConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    bench: BenchConfig = field(default_factory=BenchConfig)
    runs: str = "runs"  # results go to <runs>/bench/
    seed: int = number(0, least=0, most=MOST_SEED)  # chooses the prompts


def validate_bench(config: BenchRun) -> BenchRun:
    """Check every range and combination that needs no model; returns the same object.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_values(config)
    validate(as_run(config))
    for leaf in leaves(BenchConfig).values():
        if leaf.rules.range is not None and getattr(config.bench, leaf.name) == []:
            raise ConfigError(f"bench.{leaf.name}=[] times nothing: expected at least one number.")
    if not config.bench.groups:
        raise ConfigError(
            f"bench.groups=[] times nothing: expected some of {', '.join(name.name for name in GroupName)}."
        )
    check_pairs("bench.pairs", config.bench.pairs)
    _check_expert(config)
    if config.execution.kind is not ExecutorKind.local:
        raise ConfigError(f"execution={config.execution.kind.name}: the bench times this process; leave it out.")
    if config.amateur.kind != "early_exit":
        raise ConfigError(f"amateur={config.amateur.kind}: the bench times a contrast, and needs amateur=early_exit.")
    plain = config.amateur.lens is Lens.norm and config.amateur.selection is Selection.fixed
    if not plain or not isinstance(config.amateur.layer, int) or config.contrast.temperature == CALIBRATED:
        raise ConfigError(
            "the bench times one exit layer through the final norm at one temperature: give amateur.layer in "
            "blocks, contrast.temperature as a number, and leave amateur.lens and amateur.selection out."
        )
    if config.contrast.plausibility not in (None, "alpha"):
        raise ConfigError(
            f"contrast.plausibility={config.contrast.plausibility}: the bench times other programs, too, and they have "
            "the alpha rule alone; leave it out."
        )
    return config


def _check_expert(config: BenchRun) -> None:
    """An expert that was chosen must be one that is timed."""
    timed = set(config.bench.groups) & set(OF_EXPERT)
    if not timed and config.expert.name != _USUAL:
        raise ConfigError(
            f"expert.name={config.expert.name} is not read by bench.groups=[shapes], whose models are bench.pairs: "
            f"give bench.pairs=[{config.expert.name}], or other groups."
        )


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
