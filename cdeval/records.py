"""The records that travel between stages: prompts in, generations and numbers out. Frozen, and checked when made."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def frame(rows: Iterable[Mapping[str, Any]]) -> "pd.DataFrame":
    """Make a table of records, a column a name."""
    import pandas as pd  # noqa: PLC0415 - half a second, and only callers from Python ask for tables

    return pd.DataFrame(list(rows))


_WINDOW = re.compile(r"\.window-[0-9]+$")  # behind the id of a text, where it is cut more than once


def window_id(text: str, number: int) -> str:
    """The id of a prompt: that of its text for the first window of a text, with the window's number for others."""
    return text if number == 1 else f"{text}.window-{number}"


def document_of(prompt: str) -> str:
    """The id of the text that a prompt was cut from: windows of one text say the same thing twice.

    >>> document_of("wiki-25.window-3"), document_of("news-0012")
    ('wiki-25', 'news-0012')
    """
    return _WINDOW.sub("", prompt)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A beginning of a text, and how its author went on."""

    id: str  # stable across runs, machines and limits
    text: str  # `token_ids` decoded, without special tokens; of a chat, the user's words alone
    token_ids: tuple[int, ...]  # the expert's tokens, a leading BOS included where its tokenizer adds one
    reference: str | None  # the human continuation as text; None where the source has none
    reference_token_ids: tuple[int, ...] | None  # at most max_new_tokens of the expert's tokens
    without_context: tuple[int, ...] | None = None  # tokens of the prompt alone, where a context comes before it

    def __post_init__(self) -> None:
        if not self.token_ids or self.without_context == ():
            raise ValueError(f"prompt {self.id!r} has no tokens")
        if (self.reference is None) != (self.reference_token_ids is None):
            raise ValueError(f"prompt {self.id!r}: reference text and tokens go together")


@dataclass(frozen=True, slots=True)
class Generation:
    """One continuation, a line of `generations.jsonl`."""

    id: str  # of the prompt
    prompt: str
    prompt_token_ids: tuple[int, ...]
    reference: str | None  # human continuation
    continuation: str  # `token_ids` decoded, without special tokens
    token_ids: tuple[int, ...]  # generated tokens; an end-of-text token, where one ended the text, is not among them
    logprob_expert: float | None  # summed [nats], also over an end token that is not in token_ids; None: human
    score: float | None  # the objective, summed over the tokens [nats; contrastive search: no unit]; None for the human
    sample: int = 0  # which of several continuations of the prompt
    # Blocks that the rows read after the prompt went through, step by step, a row a beam; empty without adaptive exits.
    exit_layers: tuple[int, ...] = ()


class Generations(list[Generation]):
    """The continuations of one arm."""

    def to_pandas(self) -> "pd.DataFrame":
        """Make a table of them, a row a text and a column a field of `Generation`, with the number of new tokens."""
        return frame({**asdict(text), "tokens": len(text.token_ids)} for text in self)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its uncertainty. NaN is "no value"; `missing` says how many texts had none."""

    value: float
    low: float  # interval's ends at metrics.confidence; NaN where there is none
    high: float
    n: int  # texts that entered
    missing: int  # texts that could not be scored (empty, no reference), never silently dropped
    note: str = ""  # what made it: protocol, model, truncation, or why there is no value


@dataclass(frozen=True, slots=True)
class Comparison:
    """One arm against another by one metric, on the prompts that both have."""

    metric: str
    arm: str
    against: str
    difference: Estimate  # arm − against; n counts prompts, missing those where either side has no value
    p: float  # of no difference, two-sided; NaN where there is no test
    p_holm: float  # corrected for all comparisons of its family
    detectable: float  # difference that a study of this size finds with 80 % power; NaN where there is none


HUMAN_TEXTS = "these are the human texts"  # why the references have no likeness to themselves
EXPERT = "expert"  # the lens's name of the expert's own row


@dataclass(frozen=True, slots=True)
class LensScore:
    """A layer's predictions, read through one lens: means over held-out positions."""

    layer: int  # blocks before the exit; the expert's depth for the expert itself
    lens: str  # norm, raw, or what made it: least_squares, gradient; or "expert"
    nll: float  # of the next token [nats]
    kl: float  # of the exit's distribution from the expert's, KL(expert || exit) [nats]
    agreement: float  # share of positions where both have the same likeliest token
    entropy: float  # of the layer's distribution [nats]
    changed: float  # share of positions where the contrast's likeliest token is not the expert's
    plausible: float  # tokens in V_head, which is the expert's own
    positions: int  # that entered
    # How often the contrast would accept what the exit drafts (`cdeval.cost.drafting`); of the expert: its own drafts.
    accepted_likeliest: float  # its likeliest token, by greedy search: share of positions
    accepted_drawn: float  # a token drawn from it, by sampling: the mean overlap of both distributions
    margin: Estimate  # anti-loop margin [nats] (`cdeval.lens.loops`); of the expert: without contrast


@dataclass(frozen=True, slots=True)
class Drafts:
    """The number of drafts of a cycle that is best for an exit, and what it brings (`cdeval.cost.drafting`)."""

    accepted: float  # share of drafts
    drafts: int  # of a cycle
    speed_up: float  # over decoding with the same contrast and no drafts; below 1 it is slower


@dataclass(frozen=True, slots=True)
class Drafting:
    """The outcome of drafting with the blocks before an exit, in tokens and bytes."""

    layer: int  # blocks that draft
    lens: str  # as of `LensScore`
    greedy: Drafts  # drafts are the exit's likeliest tokens
    sampling: Drafts  # drafts are drawn from the exit


@dataclass(frozen=True, slots=True)
class PrunedBlocks:
    """Blocks of the expert that are left out, and what contrasting with the rest would do (`cdeval.lens.prune`)."""

    left_out: tuple[int, ...]  # ascending, from 1
    margin: Estimate  # anti-loop margin [nats] (`cdeval.lens.loops`)
    kl: float  # KL(expert || rest) on the same passages, at the margin's temperature [nats]
    passages: int


@dataclass(frozen=True, slots=True)
class PredictedSetting:
    """A setting of a study: the anti-loop margin that predicts its diversity, and the diversity of its texts."""

    label: str
    lens: str  # empty: nothing is subtracted
    search: str
    margin: Estimate  # at the setting's own β and temperature [nats] (`cdeval.lens.loops`)
    kl: float  # KL(expert || amateur) on the same passages, at that temperature [nats]; NaN: nothing is subtracted
    diversity: float  # of its texts, in [0, 1]


@dataclass(frozen=True, slots=True)
class MarginCorrelation:
    """Spearman's ρ with diversity over settings that are ranked together (`cdeval.lens.rule`)."""

    margin: Estimate
    kl: Estimate  # over the exits alone: n is smaller where the expert alone is among the settings


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Every layer's prediction after every token of a prompt: a row a layer, the expert itself last."""

    tokens: tuple[str, ...]  # of the prompt
    layers: tuple[int, ...]  # blocks before the exit; the last one is the expert's depth
    lens: str  # norm, raw or tuned
    top: tuple[tuple[str, ...], ...]  # likeliest next token [layer][token]
    probability: tuple[tuple[float, ...], ...]  # of it
    entropy: tuple[tuple[float, ...], ...]  # of the layer's distribution [nats]
    kl: tuple[tuple[float, ...], ...]  # KL(expert || layer) [nats]
    candidates: tuple[str, ...]  # the expert's likeliest tokens after the whole prompt
    followed: tuple[tuple[float, ...], ...]  # their probabilities [layer][candidate]

    def to_pandas(self) -> "pd.DataFrame":
        """Make a table, a row a layer and token of the prompt; `kl` and `entropy` in nats."""
        return frame(
            {
                "layer": layer,
                "place": place,
                "token": token,
                **{name: getattr(self, name)[row][place] for name in ("top", "probability", "entropy", "kl")},
            }
            for row, layer in enumerate(self.layers)
            for place, token in enumerate(self.tokens)
        )


@dataclass(frozen=True, slots=True)
class ThresholdScore:
    """One threshold of the expert's early exits, against the texts by all blocks."""

    threshold: float  # λ
    exit_layer: float  # mean blocks of the rows read after the prompt; test texts
    exit_share: float  # of these rows, those that exited early; test texts
    flops_saved: float  # share of a token's FLOPs, prompt included; below 0 where exits cost more; test texts
    risk: float  # mean over the calibration texts, in [0, 1]
    p: float  # of a true risk above the tolerance
    accepted: bool
    test_risk: float  # mean over the test texts
    # Seconds of a token by the number of prompts decoded together, and over those by all blocks; empty if not timed.
    seconds_per_token: Mapping[int, float] = field(default_factory=dict)
    time_saved: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Price:
    """One arm of one pair of architectures on paper; overheads are ratios over the expert alone, 0.05 is 5 % more."""

    pair: str
    arm: str
    flops_per_token: float  # by formula
    flops_overhead: float
    counted_overhead: float  # the same by torch's counter
    counted_difference: float  # of all FLOPs, formula over count
    bytes_per_token: float  # moved between memory and processor
    bytes_overhead: float
    parameters: int  # of all models
    parameters_overhead: float
    cache_bytes: int  # keys and values of one text at its end, of all models
    cache_overhead: float
    bound_seconds_per_token: float  # what bytes or FLOPs alone take on the device, whichever is more


@dataclass(frozen=True, slots=True)
class Weighed:
    """A next token that a step could take."""

    token: int
    text: str
    log_expert: float | None  # [nats]; None: banned
    log_amateur: float | None  # log p_a(x; T) [nats]; None without an amateur
    score: float | None  # of the objective [nats]; None outside the plausible set


@dataclass(frozen=True, slots=True)
class KeptBeam:
    """A beam that goes on after a step."""

    parent: int  # beam that it extends
    text: str  # of its new token
    total: float  # accumulated score [nats]


@dataclass(frozen=True, slots=True)
class TraceStep:
    """The choice of one token of a text, in the beam that the text comes from."""

    chosen: Weighed
    expert_favourite: str  # the expert's likeliest token here
    contrast_favourite: str  # the token of the best score here
    flipped: bool  # whether these two differ
    plausible: int  # tokens in V_head; of redistributed scores, in the vocabulary
    candidates: tuple[Weighed, ...]  # the expert's likeliest tokens, likeliest first
    beam: int  # the text's own among `beams`
    beams: tuple[KeptBeam, ...]  # all that go on, best first


@dataclass(frozen=True, slots=True)
class Trace:
    """One generation, token by token."""

    label: str  # of the setting
    expert: str
    prompt: str
    continuation: str
    score: float  # of the objective, summed [nats]
    logprob_expert: float  # summed [nats]
    steps: tuple[TraceStep, ...]  # a token each

    def to_pandas(self) -> "pd.DataFrame":
        """Make a table, a row a token of the text: its numbers [nats], and what expert and contrast liked best."""
        names = ("expert_favourite", "contrast_favourite", "flipped", "plausible", "beam")
        return frame({**asdict(step.chosen), **{name: getattr(step, name) for name in names}} for step in self.steps)
