"""The schema of `conf/`: plain dataclasses, filled by Hydra and checked once, at the door (`validation.validate`)."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from cdeval.config.chat import ChatConfig
from cdeval.config.enums import (
    Ban,
    Codebook,
    Compile,
    Context,
    DiversityProtocol,
    Dtype,
    ExecutorKind,
    Form,
    Normalizer,
    Pool,
    Pooling,
    PromptSource,
    SearchKind,
    Split,
    TemperatureForm,
    Weights,
)
from cdeval.config.exits import AdaptiveExitConfig, ExitConfig
from cdeval.config.fields import TextForm, When, new_number, number, only, read_when, written_unless_default
from cdeval.config.metrics import Need, read_by
from cdeval.config.readers import only_methods_that_read
from cdeval.config.rules import MOST_VOCABULARY, RuleConfig
from cdeval.config.showing import ShowsResults
from cdeval.config.token_weight import Gate, GateConfig, Weight
from cdeval.config.tracking import TrackingConfig
from cdeval.config.variants import VariantConfig

MISSING: str = "???"  # OmegaConf's mark for a value that the user must give
AUTO = "auto"  # a number that cdeval finds itself
CALIBRATED = "calibrated"  # a number that is fitted on texts that are no prompts

# Conditions under which settings are read; `cdeval.config.unread` refuses those that are set and not read.
_NEGATIVE = only("amateur.context", Context.negative)
CONTRASTED = When("amateur.kind", lambda kind: kind != "none", "add amateur=early_exit, or another amateur")
_MASKED = replace(
    CONTRASTED,
    remedy=f"{CONTRASTED.remedy}, or a rule, as contrast.plausibility=alpha",
    otherwise=When("contrast.plausibility", lambda rule: rule is not None, "add contrast.plausibility=alpha"),
)
_BY_ALPHA = When("contrast.plausibility", lambda rule: rule in (None, "alpha"), "add contrast.plausibility=alpha")
_BY_ENTROPY = only("contrast.weight", Weight.entropy)
_GATED = only("contrast.gate", Gate.entropy)
_BEAMS = only("search.kind", SearchKind.beam)
_DRAWN = only("search.kind", SearchKind.sample, remedy="search=sample, top_k, nucleus, typical, min_p or eta")
_SEEDED = When("search.kind", lambda kind: kind.seeded, "add search=sample, another sampling, or search=hf")
_FOREIGN = only("search.kind", SearchKind.hf)
_PENALISED = only("search.kind", SearchKind.contrastive_search)
_FROM_FILE = only("prompts.source", PromptSource.file)
_FROM_SPLIT = only(
    "prompts.source",
    *(source for source in PromptSource if source is not PromptSource.file),
    remedy="a source that has splits, as prompts=news",
)
_IN_PARAGRAPHS = only(
    "prompts.source", PromptSource.wiki, PromptSource.news_wiki, PromptSource.speeches, PromptSource.file
)
_WHOLE = When("prompts.split", lambda _split: False, "leave it out, as each text counts once here")
STORED = only("expert.weights", Weights.stored)
_TIMED = When(
    "cost.latency_repeats", lambda repeats: repeats > 0, "give cost.latency_repeats=3, or another number above 0"
)
_ON_RAY = only("execution.kind", ExecutorKind.ray)
_MOST_TOKENS = 1_000_000  # of a text; no model reads more, and what is reserved for them would fill memory
MOST_SEED = 2_000_000_000  # faiss takes 32 bits with a sign, and further k-means seeds follow this one

_CLUSTERED = read_by(Need.featurizer)
_LIKELY = read_by(Need.scorer)
_EMBEDDED = read_by(Need.embedder)


@dataclass
class ExpertConfig:
    """The strong model: a hub id, a local folder, or an embedded one."""

    name: str = MISSING  # hub id, local folder, embedded:smollm2 or embedded:gemma3
    revision: str | None = None  # hub commit, tag or branch
    dtype: Dtype = Dtype.auto
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    weights: Weights = Weights.stored  # of the expert, and of an amateur that is a model of its own


_by_kind = partial(only_methods_that_read, setting="amateur.kind")


@dataclass
class AmateurConfig(ExitConfig, VariantConfig):
    """The weak side of the contrast."""

    kind: str = "early_exit"  # of amateur, by its name; amateur=<name> sets what goes with it
    # Exit after, or truncated to, this many blocks, 1 <= layer < L, or this fraction of L; a list: candidates.
    layer: Any = read_when(_by_kind("layer"), default=None)
    name: str | None = read_when(_by_kind("name"), default=None)  # hub id or local folder
    revision: str | None = read_when(_by_kind("revision"), default=None)  # hub commit, tag or branch
    context: Context = read_when(_by_kind("context"), default=Context.full)
    # Text that context=negative reads in the prompt's place.
    negative: str | None = written_unless_default(_by_kind("context"), _NEGATIVE, default=None, form=TextForm.prose)
    order: int = number(3, least=1, most=8, hint="tokens of an n-gram", when=(_by_kind("order"),))


@dataclass
class ContrastConfig(RuleConfig, GateConfig):
    """The rule that says which tokens may be chosen, and how the amateur is subtracted.

    Without an amateur nothing is subtracted; a rule of plausibility that is named here is read all the same.
    """

    # Plausibility: p_expert >= alpha * max p_expert.
    alpha: float = number(
        0.3, least=0, open_least=True, most=1, hint="0.1 is the published value", when=(_MASKED, _BY_ALPHA)
    )
    # Weight of the amateur's log-probability.
    beta: float = number(1.0, least=0, most=1000, hint="0 is the expert alone", when=(CONTRASTED,))
    # Of the amateur; calibrated: fitted on texts that are no prompts.
    temperature: int | float | str = number(
        0.5, least=0.001, most=10_000, word=CALIBRATED, hint="1 changes nothing", when=(CONTRASTED,)
    )
    temperature_form: TemperatureForm = read_when(CONTRASTED, default=TemperatureForm.softmax)
    normalizer: Normalizer = read_when(CONTRASTED, default=Normalizer.full)
    form: Form = read_when(CONTRASTED, default=Form.difference)
    # The expert's k best tokens, re-normalised before the mask; null: all.
    expert_top_k: int | None = number(None, least=1, most=MOST_VOCABULARY, when=(_MASKED,))
    # Plausible tokens that are kept at least.
    min_tokens: int = number(1, least=1, most=MOST_VOCABULARY, when=(_MASKED,))
    # The rule that says which tokens may be chosen; null: alpha where there is an amateur, none without one.
    plausibility: str | None = written_unless_default(default=None)
    weight: Weight = written_unless_default(CONTRASTED, default=Weight.constant)
    # Of the amateur's weight at a token; null: no bound.
    weight_most: float | None = new_number(None, least=0, open_least=True, most=1000, when=(_BY_ENTROPY,))
    gate: Gate = written_unless_default(CONTRASTED, default=Gate.always)
    # Above which something is subtracted [nats].
    gate_entropy: float = new_number(1.0, least=0, most=100, hint="0.5 to 3 are usual", when=(_GATED,))


@dataclass
class SearchConfig:
    """The search for continuations; null leaves the distribution as it is."""

    kind: SearchKind = SearchKind.beam
    # Of contrastive search: the k candidates that it chooses from.
    beams: int = number(5, least=1, most=1000)
    max_new_tokens: int = number(128, least=1, most=_MOST_TOKENS)  # length of the continuations
    ban: Ban = Ban.special
    pool: Pool = read_when(CONTRASTED, _BEAMS, default=Pool.all)
    # Continuations a prompt, one unit of the intervals.
    samples: int = number(1, least=1, most=10_000, when=(_SEEDED,))
    temperature: float = number(
        1.0, least=0.001, most=10_000, hint="τ; 1 draws from the model as it is", when=(_DRAWN,)
    )
    # Only the k most probable tokens.
    top_k: int | None = number(None, least=1, most=MOST_VOCABULARY, when=(_DRAWN,))
    # The nucleus.
    top_p: float | None = number(
        None, least=0, open_least=True, most=1, open_most=True, hint="0.95 is usual", when=(_DRAWN,)
    )
    # p >= min_p * max p.
    min_p: float | None = number(None, least=0, open_least=True, most=1, hint="0.1 is usual", when=(_DRAWN,))
    # The locally typical tokens.
    typical_p: float | None = number(
        None, least=0, open_least=True, most=1, open_most=True, hint="0.95 is usual", when=(_DRAWN,)
    )
    # ε of eta sampling.
    eta: float | None = number(
        None, least=0, open_least=True, most=1, open_most=True, hint="0.0003 to 0.004 are usual", when=(_DRAWN,)
    )
    # α of contrastive search.
    penalty: float = number(0.6, least=0, most=1, hint="0.6 is usual", when=(_PENALISED,))
    # Arguments of `generate` of transformers; objects by _target_.
    generate: dict[str, Any] = written_unless_default(_FOREIGN, factory=dict)
    adaptive_exit: AdaptiveExitConfig = field(default_factory=AdaptiveExitConfig)  # where the expert itself may stop


@dataclass
class PromptsConfig(ChatConfig):
    """The texts that are continued."""

    source: PromptSource = read_when(STORED, default=PromptSource.news)
    path: str | None = read_when(STORED, _FROM_FILE, default=None)  # of a JSON or JSONL file
    # The tokenizer's own leading token (BOS), if it adds one, counts.
    prompt_tokens: int = number(32, least=1, most=_MOST_TOKENS)
    limit: int | None = number(64, least=1, most=100_000_000, hint="null is all of them", when=(STORED,))
    # Most prompts of one text: its beginning, then the beginnings of later paragraphs that no other prompt reads.
    windows: int | None = new_number(
        1, least=1, most=100_000, hint="null is all that there are", when=(STORED, _IN_PARAGRAPHS)
    )
    split: Split = read_when(STORED, _FROM_SPLIT, default=Split.test)


@dataclass
class BothSplits(PromptsConfig):
    """The prompts of commands that learn on one split and test on the other one; items of a file are split as well."""

    windows: int | None = new_number(1, least=1, most=1, when=(_WHOLE,))  # of a text: its beginning alone
    split: Split = Split.tune


@dataclass
class MetricsConfig:
    """The metrics that score continuations, and how."""

    # `expert`, or a model by hub id or folder: whose last hidden state is clustered.
    mauve_features: str = read_when(STORED, _CLUSTERED, default="expert")
    # K-means seeds, averaged.
    mauve_seeds: int = number(5, least=1, most=1000, when=(STORED, _CLUSTERED))
    mauve_codebook: Codebook = read_when(STORED, _CLUSTERED, default=Codebook.shared)
    # `expert`, or a model by hub id or folder: perplexity and log-likelihood coherence.
    scorer: str = read_when(STORED, _LIKELY, default="expert")
    embedder: str = read_when(STORED, _EMBEDDED, default="embedded:minilm")  # sentence embeddings for coherence
    embedder_pooling: Pooling = read_when(STORED, _EMBEDDED, default=Pooling.auto)
    # Longer texts are cut; null: at the embedder's own limit; 128 as published.
    embedder_tokens: int | None = number(
        None, least=3, most=_MOST_TOKENS, hint="two are special tokens", when=(STORED, _EMBEDDED)
    )
    # Keep what the models said about each text in <runs>/<study>/.features.
    cache: bool = read_when(STORED, default=True)
    # Of the intervals; the draws that a family of comparisons needs grow with 1 / (1 - confidence).
    confidence: float = number(0.95, least=0, open_least=True, most=0.999, hint="0.95 is usual")
    # Resamples of the prompts for each interval.
    bootstrap_draws: int = number(2000, least=100, most=100_000, when=(STORED,))
    only: list[str] = read_when(STORED, factory=list)  # names of the metrics to compute; empty: all that are not extras
    # Also those beside ours: distinct-n, self-BLEU, compression ratio, Vendi score, Q*Text and others.
    extras: bool = read_when(STORED, default=False)


@dataclass
class ProtocolConfig:
    """The published definitions that are followed where they differ; files of conf/protocol set other groups, too."""

    name: str = "default"  # for the record; protocol=<file> sets it
    diversity: DiversityProtocol = DiversityProtocol.corrected


@dataclass
class CostConfig:
    """The measurement of costs; FLOPs and KV bytes are always counted."""

    # Timed passes an arm after one full-length warm-up.
    latency_repeats: int = number(3, least=0, most=10_000, hint="0 measures no latency")
    # Time in a process of its own, which has loaded the models and nothing else.
    isolated: bool = read_when(_TIMED, default=True)


@dataclass
class ExecutionConfig:
    """The use of the machine; nothing here changes a float32 text."""

    kind: ExecutorKind = ExecutorKind.local
    # Prompts x settings in one forward pass; auto: by the free memory (cost.capacity).
    max_lanes: int | str = number(AUTO, least=1, most=1_000_000, word=AUTO)
    # Steps between two compactions of the key-value cache.
    compact_every: int = number(8, least=0, most=_MOST_TOKENS, hint="0 never compacts")
    # A step as one program, which a GPU replays; auto: on a GPU, where that is possible.
    compile: Compile = Compile.auto
    # Processes that hold the models.
    workers: int = number(2, least=1, most=1024, when=(_ON_RAY,))
    # Cores a worker; auto: this machine's, shared out.
    threads: int | str = number(AUTO, least=1, most=1024, word=AUTO, when=(_ON_RAY,))
    # GPUs a worker, a fraction shares one; auto: 1 where the expert is on one.
    gpus: int | float | str = number(
        AUTO, least=0, most=64, word=AUTO, hint="0.5 shares one, 0 is the CPU", when=(_ON_RAY,)
    )
    # A running cluster, or auto to find it; null: one on this machine, for the run.
    address: str | None = read_when(_ON_RAY, default=None)
    # Of each unit of work, before its texts are tried one by one.
    tries: int = number(2, least=1, most=10, when=(_ON_RAY,))
    # Of a worker that does not answer, before a line says so [seconds]; one that computes answers.
    silence_s: float = number(60.0, least=1, most=86_400, when=(_ON_RAY,))
    # The same, before it is replaced and its work is done by others; null: never.
    replaced_s: float | None = number(600.0, least=1, most=604_800, when=(_ON_RAY,))


@dataclass
class RunConfig(ShowsResults):
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
    seed: int = number(0, least=0, most=MOST_SEED)  # chooses the prompts, and what sampling draws
    controls: bool = True  # also run the expert alone under the same search, and score the human reference
    # Settings of this arm that were compared on the tuning split before it was chosen (`cdeval.tune`); null: not known.
    tried: int | None = new_number(None, least=1, most=1_000_000)
    retry: bool = True  # decode points again that failed before; false leaves them, and names them
