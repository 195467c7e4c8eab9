"""The schema of `conf/`: plain dataclasses, filled by Hydra and checked once, at the door (`validate`).

What depends on the model (the exit layer against its depth, the length against its context) is checked by
`cdeval.models.loading`, as soon as the model's configuration is known and before its weights are read.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from cdeval.errors import ConfigError
from cdeval.exitconfig import ExitConfig, Selection, validate_exit, validate_layers, validate_no_exit

MISSING: str = "???"  # OmegaConf's mark for a value that the user must give
AUTO = "auto"  # a number that cdeval finds itself
CALIBRATED = "calibrated"  # a number that is fitted on texts that are no prompts


class Dtype(Enum):
    """Number format of the weights; scores are float32 whatever it is."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class AmateurKind(Enum):
    """Who is subtracted.

    none: nobody. early_exit: the expert after some of its blocks, at no forward pass of its own. truncated: the same
    blocks as a separate model with its own cache, the same texts at another price. model: a second model with the
    expert's vocabulary. ngram: counts over the expert's tokens.
    """

    none = "none"
    early_exit = "early_exit"
    truncated = "truncated"
    model = "model"
    ngram = "ngram"


class Context(Enum):
    """What an amateur with a forward pass of its own reads.

    full: prompt and continuation, as the expert. generated: the prompt's last token and the continuation (the ignored
    prefix of Li et al. 2022, section 3.4).
    """

    full = "full"
    generated = "generated"


class TemperatureForm(Enum):
    """How the amateur's temperature enters the score.

    softmax: log softmax(z / T), re-normalised (the seed experiment). logprob: log softmax(z) / T, not re-normalised
    (the code of Li et al. 2022). They differ by a constant per prefix, so they rank one beam's tokens alike and
    different beams differently.
    """

    softmax = "softmax"
    logprob = "logprob"


class Normalizer(Enum):
    """Over which tokens the amateur's probabilities sum to one.

    full: the vocabulary, as published. candidates: the expert's plausible tokens, so that only their rows of the head
    are multiplied. A prefix's tokens rank alike under both, so greedy search and sampling make the same texts; beams
    compare scores of different prefixes, so under beam search it is another objective, an approximation.
    """

    full = "full"
    candidates = "candidates"


class Form(Enum):
    """How the contrast is written; all of them on the plausible tokens V_head.

    difference: log p_e - beta log p_a, nothing outside (Li et al. 2022). amplified: (1 + beta) log p_e - beta log p_a,
    nothing outside (O'Brien & Lewis 2023). redistributed: the expert's probability of V_head shared out by the softmax
    of the difference, the expert's own probabilities outside (Gera et al. 2023, autocontrastive decoding).
    """

    difference = "difference"
    amplified = "amplified"
    redistributed = "redistributed"


class Pool(Enum):
    """Which (beam, token) pairs a step of beam search chooses from.

    all: every pair. local: from the second step on, the 2 * beams pairs that the expert finds most probable at this
    step, whatever their beams have collected (the code of Li et al. 2022).
    """

    all = "all"
    local = "local"


class SearchKind(Enum):
    """How the next tokens are searched.

    sample: drawn at random; top-k, nucleus, typical, min-p and eta sampling are settings of it. contrastive_search: by
    probability and unlikeness to the text so far (Su et al. 2022); despite its name it has no amateur.
    """

    beam = "beam"
    greedy = "greedy"
    sample = "sample"
    contrastive_search = "contrastive_search"


class Ban(Enum):
    """Tokens that are never generated.

    special: every special token (end of text, chat markers, padding) and every vocabulary row without a token. eos:
    the end of text only. Both make every continuation exactly `max_new_tokens` long. none: texts may end by themselves.
    free: the end of text is a token as any other, neither banned nor an end (the seed experiment).
    """

    special = "special"
    eos = "eos"
    none = "none"
    free = "free"


class PromptSource(Enum):
    """Where the prompts come from."""

    news = "news"
    wiki = "wiki"
    wikitext103 = "wikitext103"
    ccnews = "ccnews"
    file = "file"


class Split(Enum):
    """Which texts of a source: settings are chosen on `tune`, results are reported on `test`."""

    tune = "tune"
    test = "test"
    all = "all"


class DiversityProtocol(Enum):
    """How n-grams are counted (`cdeval.metrics.diversity`).

    corrected: all of them, nothing rounded. published: as simctg's code counts, which Su et al. and Li et al. report.
    """

    corrected = "corrected"
    published = "published"


class Codebook(Enum):
    """Whose features are clustered together for MAUVE.

    shared: the human texts and all arms, so that values of different arms compare (mauve issue 13). pairwise: the human
    texts and one arm, anew for each, by mauve-text itself, as published.
    """

    shared = "shared"
    pairwise = "pairwise"


class Pooling(Enum):
    """How an encoder's token states become one vector.

    auto: as the model itself says (a sentence-transformers folder), or what is known by its name (SimCSE). pooler:
    BERT's pooler output. mean: the mean over tokens.
    """

    auto = "auto"
    pooler = "pooler"
    mean = "mean"


class Tracker(Enum):
    """Who else hears of the results, after they are on disk."""

    none = "none"
    wandb = "wandb"


class WandbMode(Enum):
    """Whether W&B runs are kept on disk (`wandb sync` sends them later) or sent at once."""

    offline = "offline"
    online = "online"


@dataclass
class ExpertConfig:
    """The strong model: a hub id, a local folder, or `embedded:smollm2`."""

    name: str = MISSING
    revision: str | None = None  # hub commit, tag or branch
    dtype: Dtype = Dtype.auto
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps


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


@dataclass
class TrackingConfig:
    """Experiment tracking, a mirror of the run folder."""

    kind: Tracker = Tracker.wandb
    mode: WandbMode = WandbMode.offline
    project: str = "cdeval"
    entity: str | None = None


@dataclass
class ExecutionConfig:
    """How the machine is used; nothing here changes a float32 text."""

    max_lanes: int | str = AUTO  # prompts x settings in one forward pass; auto: by the free memory (cost.room)
    compact_every: int = 8  # steps between two compactions of the key-value cache; 0 never compacts


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


def _finite(value: float) -> bool:
    return math.isfinite(value)


# (setting, holds, what was expected): one row a rule, so that every message has the same shape.
_RULES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("contrast.alpha", lambda v: 0 < v <= 1, "a number in (0, 1]; 0.1 is the published value"),
    ("contrast.beta", lambda v: _finite(v) and v >= 0, "a number >= 0; 0 is the expert alone"),
    ("contrast.temperature", lambda v: _finite(v) and v > 0, "a number > 0, or calibrated; 1 changes nothing"),
    ("contrast.expert_top_k", lambda v: v >= 1, "at least 1, or null for all tokens"),
    ("contrast.min_tokens", lambda v: v >= 1, "at least 1"),
    ("search.beams", lambda v: v >= 1, "at least 1"),
    ("search.max_new_tokens", lambda v: v >= 1, "at least 1"),
    ("search.samples", lambda v: v >= 1, "at least 1"),
    ("search.temperature", lambda v: _finite(v) and v > 0, "a number > 0; 1 draws from the model as it is"),
    ("search.top_k", lambda v: v >= 1, "at least 1, or null for all tokens"),
    ("search.top_p", lambda v: 0 < v < 1, "a number in (0, 1), or null for all tokens; 0.95 is usual"),
    ("search.min_p", lambda v: 0 < v <= 1, "a number in (0, 1], or null for all tokens; 0.1 is usual"),
    ("search.typical_p", lambda v: 0 < v < 1, "a number in (0, 1), or null for all tokens; 0.95 is usual"),
    ("search.eta", lambda v: 0 < v < 1, "a number in (0, 1), or null for all tokens; 0.0003 to 0.004 are usual"),
    ("search.penalty", lambda v: 0 <= v <= 1, "a number in [0, 1]; 0.6 is usual"),
    ("prompts.prompt_tokens", lambda v: v >= 1, "at least 1"),
    ("prompts.limit", lambda v: v >= 1, "at least 1, or null for all"),
    ("amateur.order", lambda v: 1 <= v <= 8, "1 to 8 tokens"),
    ("metrics.embedder_tokens", lambda v: v >= 3, "at least 3 (two are special tokens), or null for the model's own"),
    ("metrics.mauve_seeds", lambda v: v >= 1, "at least 1"),
    ("metrics.confidence", lambda v: 0 < v < 1, "a number in (0, 1); 0.95 is usual"),
    ("metrics.bootstrap_draws", lambda v: v >= 100, "at least 100"),
    ("cost.latency_repeats", lambda v: v >= 0, "at least 0; 0 measures no latency"),
    ("execution.max_lanes", lambda v: v >= 1, "at least 1, or auto"),
    ("execution.compact_every", lambda v: v >= 0, "at least 0; 0 never compacts"),
    ("seed", lambda v: v >= 0, "at least 0"),
)

_WORDS = {"execution.max_lanes": AUTO, "contrast.temperature": CALIBRATED}  # what may stand for a number


def validate(config: RunConfig) -> RunConfig:
    """Check every range and combination that needs no model; returns the same object.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_ranges(config, [rule[0] for rule in _RULES])
    _validate_search(config.search, config.amateur)
    _validate_amateur(config.amateur, config.expert)
    _validate_temperature(config)
    if config.prompts.source is PromptSource.file and config.prompts.path is None:
        raise ConfigError(
            "prompts=file needs prompts.path: a JSON or JSONL file with `prompt` or `text` in every item."
        )
    validate_study_name("study", config.study)
    return config


def check_ranges(config: object, settings: Sequence[str]) -> None:
    """Check the settings that a command shares with others, such as `("metrics", "seed")`: whole groups or single ones.

    Raises: ConfigError: as `validate`.
    """
    for name, holds, expected in _RULES:
        if name not in settings and name.partition(".")[0] not in settings:
            continue
        value: object = config
        for part in name.split("."):
            value = getattr(value, part)
        if name in _WORDS and value == _WORDS[name]:
            continue
        if value is not None and not (isinstance(value, int | float) and holds(value)):
            raise ConfigError(f"{name}={value} is out of range: expected {expected}.")


# Settings that one search alone reads, and what to do about it elsewhere.
_READ_BY: tuple[tuple[SearchKind, tuple[str, ...], str], ...] = (
    (
        SearchKind.sample,
        ("samples", "temperature", "top_k", "top_p", "min_p", "typical_p", "eta"),
        "only random draws read it; use search=sample, top_k, nucleus, typical, min_p or eta",
    ),
    (SearchKind.contrastive_search, ("penalty",), "only contrastive search reads it; use search=contrastive_search"),
)


def _validate_search(search: SearchConfig, amateur: AmateurConfig) -> None:
    kind, usual = search.kind, SearchConfig()
    if kind is SearchKind.greedy and search.beams != 1:
        raise ConfigError(f"search.beams={search.beams} with search=greedy: greedy search has 1 beam; use search=beam.")
    if kind is SearchKind.sample and search.beams != 1:
        raise ConfigError(
            f"search.beams={search.beams} with search=sample: a draw goes on with 1 text. "
            f"For several texts a prompt use search.samples={search.beams}; for beams, search=beam."
        )
    for reader, names, remedy in _READ_BY:
        for name in names:
            value = getattr(search, name)
            if kind is not reader and value != getattr(usual, name):
                raise ConfigError(f"search.{name}={value} with search={kind.name}: {remedy}.")
    if kind is SearchKind.contrastive_search and amateur.kind is not AmateurKind.none:
        raise ConfigError(
            f"search=contrastive_search with amateur={amateur.kind.name}: contrastive search (Su et al. 2022) compares "
            "the expert's candidates with the text so far and has no amateur; add amateur=none."
        )


def _validate_amateur(amateur: AmateurConfig, expert: ExpertConfig) -> None:
    kind = amateur.kind
    if kind in (AmateurKind.early_exit, AmateurKind.truncated) and amateur.layer is None:
        raise ConfigError(
            f"amateur={kind.name} needs amateur.layer: the number of blocks before the exit, 1 <= layer < L."
        )
    if kind is AmateurKind.early_exit:
        validate_exit(amateur, amateur.layer)
    elif kind is not AmateurKind.none:
        validate_no_exit(amateur, kind.name)
    if kind is AmateurKind.truncated:
        validate_layers("amateur.layer", amateur.layer)
        if isinstance(amateur.layer, list):
            raise ConfigError(
                f"amateur.layer={amateur.layer} with amateur=truncated: a truncated model has one last block; a choice "
                "among layers needs amateur=early_exit."
            )
    if kind is AmateurKind.model and amateur.name is None:
        raise ConfigError("amateur=model needs amateur.name: a hub id such as gpt2, or a local model folder.")
    if kind is AmateurKind.model and (amateur.name, amateur.revision) == (expert.name, expert.revision):
        raise ConfigError(
            f"amateur.name={amateur.name} is the expert itself: give another model, or an earlier checkpoint of it "
            "by amateur.revision=<commit, tag or branch>."
        )
    if kind is AmateurKind.early_exit and amateur.context is Context.generated:
        raise ConfigError(
            "amateur=early_exit reads what the expert reads: amateur.context=generated needs amateur=truncated, "
            "the same blocks with a forward pass of their own."
        )


def _validate_temperature(config: RunConfig) -> None:
    """A temperature can be fitted where one layer's distribution is the amateur, in the form that has a likelihood."""
    amateur, contrast = config.amateur, config.contrast
    if contrast.temperature != CALIBRATED or amateur.kind is AmateurKind.none:
        return
    fixed = amateur.kind is AmateurKind.early_exit and amateur.selection is Selection.fixed
    if not fixed and amateur.kind is not AmateurKind.truncated:
        raise ConfigError(
            f"contrast.temperature=calibrated is fitted to one layer of the expert: amateur={amateur.kind.name} "
            f"with amateur.selection={amateur.selection.name} has none. Give a number."
        )
    if contrast.temperature_form is not TemperatureForm.softmax:
        raise ConfigError(
            f"contrast.temperature=calibrated with contrast.temperature_form={contrast.temperature_form.name}: only "
            "softmax(z / T) is a distribution whose likelihood can be maximised. Give a number, or "
            "contrast.temperature_form=softmax."
        )


def validate_study_name(setting: str, name: str) -> None:
    """Check that a study is one folder below the runs folder: no separators, no way out of it. Raises: ConfigError."""
    if not name or name in {".", ".."} or any(sign in name for sign in "/\\\0") or name.startswith("."):
        raise ConfigError(f"{setting}={name!r} cannot name a folder: expected a plain name, such as `{setting}=first`.")
