"""The schema of `conf/`: plain dataclasses, filled by Hydra and checked once, at the door (`validation.validate`)."""

from dataclasses import dataclass, field
from typing import Any

from cdeval.choices import (
    AmateurKind,
    Ban,
    Codebook,
    Context,
    DiversityProtocol,
    Dtype,
    Executor,
    Form,
    Normalizer,
    Pool,
    Pooling,
    PromptSource,
    SearchKind,
    Split,
    TemperatureForm,
    Tracker,
    WandbMode,
    Weights,
)
from cdeval.exitconfig import AdaptiveExitConfig, ExitConfig

MISSING: str = "???"  # OmegaConf's mark for a value that the user must give
AUTO = "auto"  # a number that cdeval finds itself
CALIBRATED = "calibrated"  # a number that is fitted on texts that are no prompts


@dataclass
class ExpertConfig:
    """The strong model: a hub id, a local folder, or `embedded:smollm2`."""

    name: str = MISSING
    revision: str | None = None  # hub commit, tag or branch
    dtype: Dtype = Dtype.auto
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    weights: Weights = Weights.stored  # of the expert, and of an amateur that is a model of its own


@dataclass
class AmateurConfig(ExitConfig):
    """The weak side of the contrast."""

    kind: AmateurKind = AmateurKind.early_exit
    # Exit after, or truncated to, this many blocks, 1 <= layer < L, or this fraction of L; a list: candidates.
    layer: Any = None
    name: str | None = None  # of kind=model: hub id or local folder
    revision: str | None = None  # of kind=model: hub commit, tag or branch
    context: Context = Context.full  # of truncated, model and ngram
    order: int = 3  # of ngram: tokens of an n-gram


@dataclass
class ContrastConfig:
    """How the amateur is subtracted (DESIGN: the objective); ignored where there is no amateur."""

    alpha: float = 0.1  # plausibility: p_expert >= alpha * max p_expert, in (0, 1]
    beta: float = 1.0  # weight of the amateur's log-probability, >= 0
    temperature: int | float | str = 1.0  # of the amateur, > 0; calibrated: fitted (lenses.temperature)
    temperature_form: TemperatureForm = TemperatureForm.softmax
    normalizer: Normalizer = Normalizer.full
    form: Form = Form.difference
    expert_top_k: int | None = None  # the expert's k best tokens, re-normalised before the mask; null: all
    min_tokens: int = 1  # plausible tokens that are kept at least


@dataclass
class SearchConfig:
    """How continuations are searched; null leaves the distribution as it is."""

    kind: SearchKind = SearchKind.beam
    beams: int = 5  # of contrastive search: the k candidates that it chooses from
    max_new_tokens: int = 128
    ban: Ban = Ban.special
    pool: Pool = Pool.all
    samples: int = 1  # of sample: continuations a prompt, one unit of the intervals
    temperature: float = 1.0  # of sample: τ, > 0
    top_k: int | None = None  # of sample: only the k most probable tokens
    top_p: float | None = None  # of sample: the nucleus, in (0, 1)
    min_p: float | None = None  # of sample: p >= min_p * max p, in (0, 1]
    typical_p: float | None = None  # of sample: the locally typical tokens, in (0, 1)
    eta: float | None = None  # of sample: ε of eta sampling, in (0, 1)
    penalty: float = 0.6  # of contrastive search: α, in [0, 1]
    adaptive_exit: AdaptiveExitConfig = field(default_factory=AdaptiveExitConfig)  # where the expert itself may stop


@dataclass
class PromptsConfig:
    """Which texts are continued."""

    source: PromptSource = PromptSource.news
    path: str | None = None  # of a JSON or JSONL file, for source=file
    prompt_tokens: int = 32  # the tokenizer's own leading token (BOS), if it adds one, counts
    limit: int | None = 64  # null: all
    split: Split = Split.test


@dataclass
class MetricsConfig:
    """How continuations are scored."""

    mauve_features: str = "expert"  # `expert`, or a model by hub id or folder: whose last hidden state is clustered
    mauve_seeds: int = 5  # k-means seeds, averaged
    mauve_codebook: Codebook = Codebook.shared
    scorer: str = "expert"  # `expert`, or a model by hub id or folder: perplexity and log-likelihood coherence
    embedder: str = "embedded:minilm"  # sentence embeddings for coherence
    embedder_pooling: Pooling = Pooling.auto
    embedder_tokens: int | None = None  # longer texts are cut; null: at the embedder's own limit; 128 as published
    cache: bool = True  # keep what the models said about each text in <runs>/<study>/.features
    confidence: float = 0.95  # of the intervals
    bootstrap_draws: int = 2000
    only: list[str] = field(default_factory=list)  # names of the metrics to compute; empty: all that are not extras
    extras: bool = False  # also distinct-n and self-BLEU, which compare at equal amounts of text only


@dataclass
class ProtocolConfig:
    """Whose definitions are followed where published ones differ; the files of conf/protocol set other groups, too."""

    name: str = "default"
    diversity: DiversityProtocol = DiversityProtocol.corrected


@dataclass
class CostConfig:
    """How costs are measured; FLOPs and KV bytes are always counted."""

    latency_repeats: int = 3  # timed passes an arm after one full-length warm-up; 0 measures no latency
    isolated: bool = True  # time in a process of its own, which has loaded the models and nothing else


@dataclass
class TrackingConfig:
    """Experiment tracking, a mirror of the run folder."""

    kind: Tracker = Tracker.wandb
    mode: WandbMode = WandbMode.offline
    project: str = "cdeval"
    entity: str | None = None
    quiet: bool = False  # the screen shows results and errors only, no progress


@dataclass
class ExecutionConfig:
    """How the machine is used; nothing here changes a float32 text."""

    kind: Executor = Executor.local
    max_lanes: int | str = AUTO  # prompts x settings in one forward pass; auto: by the free memory (cost.room)
    compact_every: int = 8  # steps between two compactions of the key-value cache; 0 never compacts
    workers: int = 2  # of ray: processes that hold the models
    threads: int | str = AUTO  # of ray: cores a worker; auto: this machine's, shared out
    gpus: int | float | str = AUTO  # of ray: GPUs a worker, a fraction shares one; auto: 1 where the expert is on one
    address: str | None = None  # of ray: a running cluster, or auto to find it; null: one on this machine, for the run
    tries: int = 2  # of ray: of each unit of work, before its texts are tried one by one


@dataclass
class RunConfig:
    """One setting and how to run it: the root of `conf/run.yaml`."""

    expert: ExpertConfig = field(default_factory=ExpertConfig)
    amateur: AmateurConfig = field(default_factory=AmateurConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    cost: CostConfig = field(default_factory=CostConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    study: str = "embedded"  # results go to <runs>/<study>/
    runs: str = "runs"  # folder of all studies
    seed: int = 0  # chooses the prompts, and what sampling draws
    controls: bool = True  # also run the expert alone under the same search, and score the human reference
    retry: bool = True  # decode points again that failed before; false leaves them, and names them
