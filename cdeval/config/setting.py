"""A setting: everything but the prompt and the expert that shapes a text, and how a configuration asks for it."""

from dataclasses import dataclass, replace
from typing import Any

from cdeval.config.enums import AmateurKind, Ban, Context, Form, Normalizer, Pool, SearchKind, TemperatureForm
from cdeval.config.exits import AdaptiveExitConfig, Lens, Measure, Selection
from cdeval.config.schema import AmateurConfig, RunConfig


@dataclass(frozen=True, slots=True)
class Amateur:
    """Who is subtracted; what a kind does not read has its default."""

    kind: AmateurKind = AmateurKind.none
    layer: int | None = None  # blocks before the exit, or of the truncated model; None where it is chosen
    name: str | None = None  # of a second model
    revision: str | None = None  # of a second model
    context: Context = Context.full  # of an amateur with a forward pass of its own
    order: int | None = None  # of n-grams
    lens: Lens = Lens.norm  # of an early exit
    lens_file: str | None = None  # of a tuned lens; its content, not its name, tells texts apart
    selection: Selection = Selection.fixed  # of an early exit
    layers: tuple[int, ...] = ()  # candidates of a selection, ascending
    measure: Measure | None = None  # of selection=confidence
    threshold: float | None = None  # of selection=confidence, before its decay

    @property
    def contrasts(self) -> bool:
        """Whether there is anybody to subtract."""
        return self.kind is not AmateurKind.none

    @property
    def exits(self) -> tuple[int, ...]:
        """The layers that an early exit reads."""
        return self.layers if self.layer is None else (self.layer,)

    @property
    def head_rows(self) -> int:
        """How many rows of the head a beam's early exit takes: one, or one a candidate where those are compared."""
        by_logits = self.selection is Selection.jsd or self.measure is Measure.softmax
        return len(self.layers) if by_logits else 1


@dataclass(frozen=True, slots=True)
class Sampling:
    """How next tokens are drawn at random; None narrows nothing. Other searches than sampling have the defaults."""

    seed: int = 0
    samples: int = 1  # continuations a prompt
    temperature: float = 1.0  # τ of the scores that are drawn from, not of the amateur
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    eta: float | None = None  # ε of eta sampling


@dataclass(frozen=True, slots=True)
class AdaptiveExit:
    """Where the expert itself may stop at a token (`cdeval.decode.adaptive`)."""

    measure: Measure
    threshold: float  # λ, before its decay
    decay: float  # τ
    layers: tuple[int, ...]  # blocks before each possible exit, ascending

    def __post_init__(self) -> None:
        if not self.layers or list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"layers with an exit: {self.layers}, expected at least one, ascending, each once")


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything but prompt and expert that shapes a lane's text."""

    amateur: Amateur
    alpha: float  # plausibility threshold, in (0, 1]
    beta: float  # weight of the amateur
    temperature: float  # of the amateur
    temperature_form: TemperatureForm
    normalizer: Normalizer  # of the amateur
    search: SearchKind
    beams: int  # rows a step; 1 for greedy and sampling, the candidates k of contrastive search
    max_new_tokens: int
    ban: Ban
    form: Form = Form.difference
    expert_top_k: int | None = None  # tokens that the expert's distribution is cut to
    min_tokens: int = 1  # plausible tokens at least
    pool: Pool = Pool.all  # of a step's (beam, token) pairs
    sampling: Sampling = Sampling()
    penalty: float = 0.0  # α of contrastive search
    adaptive_exit: AdaptiveExit | None = None  # of the expert; None: every token goes through all blocks

    def __post_init__(self) -> None:
        if self.adaptive_exit is not None and self.amateur.kind is AmateurKind.early_exit:
            first, amateur = min(self.adaptive_exit.layers), max(self.amateur.exits)
            if first <= amateur:
                raise ValueError(f"an exit of the expert after block {first} hides its amateur, block {amateur}")

    @property
    def is_plain(self) -> bool:
        """Whether this is the expert alone, with all of its blocks."""
        return self.adaptive_exit is None and not self.amateur.contrasts


def setting_of(config: RunConfig) -> Setting:
    """The setting that the configuration asks for; its layers are blocks and its temperature a number by now."""
    contrasts = config.amateur.kind is not AmateurKind.none
    return Setting(
        amateur=amateur_of(config.amateur),
        alpha=config.contrast.alpha,
        beta=config.contrast.beta,
        temperature=float(config.contrast.temperature) if contrasts else 1.0,
        temperature_form=config.contrast.temperature_form,
        normalizer=config.contrast.normalizer,
        search=config.search.kind,
        beams=config.search.beams,
        max_new_tokens=config.search.max_new_tokens,
        ban=config.search.ban,
        form=config.contrast.form,
        expert_top_k=config.contrast.expert_top_k,
        min_tokens=config.contrast.min_tokens,
        pool=config.search.pool,
        sampling=sampling_of(config),
        penalty=config.search.penalty if config.search.kind is SearchKind.contrastive_search else 0.0,
        adaptive_exit=adaptive_exit_of(config.search.adaptive_exit),
    )


def sampling_of(config: RunConfig) -> Sampling:
    """The random draws that the configuration asks for; the seed shapes no other search's texts."""
    search = config.search
    if search.kind is not SearchKind.sample:
        return Sampling()
    return Sampling(
        seed=config.seed,
        samples=search.samples,
        temperature=search.temperature,
        top_k=search.top_k,
        top_p=search.top_p,
        min_p=search.min_p,
        typical_p=search.typical_p,
        eta=search.eta,
    )


def adaptive_exit_of(config: AdaptiveExitConfig) -> AdaptiveExit | None:
    """The expert's own exits, if it has any; their layers are a list of blocks by now."""
    if config.threshold is None:
        return None
    return AdaptiveExit(config.measure, config.threshold, config.decay, tuple(config.layers))


def amateur_of(config: AmateurConfig) -> Amateur:
    """The amateur that the configuration asks for, without what its kind does not read; layers are blocks by now."""
    kind = config.kind
    exits = kind is AmateurKind.early_exit
    chosen = exits and config.selection is not Selection.fixed
    confident = chosen and config.selection is Selection.confidence
    layered = exits or kind is AmateurKind.truncated
    named = kind is AmateurKind.model
    reads_along = kind in (AmateurKind.truncated, AmateurKind.model, AmateurKind.ngram)
    return Amateur(
        kind=kind,
        layer=config.layer if layered and not chosen else None,
        name=config.name if named else None,
        revision=config.revision if named else None,
        context=config.context if reads_along else Context.full,
        order=config.order if kind is AmateurKind.ngram else None,
        lens=config.lens if exits else Lens.norm,
        lens_file=config.lens_file if exits else None,
        selection=config.selection if exits else Selection.fixed,
        layers=tuple(config.layer) if chosen else (),
        measure=config.measure if confident else None,
        threshold=config.threshold if confident else None,
    )


def expert_alone(setting: Setting) -> Setting:
    """The same search by all blocks, without a contrast; what only that reads is fixed, so all controls are one."""
    return replace(setting, adaptive_exit=None, **_ALONE)


# What the expert alone does not read.
_ALONE: dict[str, Any] = {
    "amateur": Amateur(),
    "alpha": 1.0,
    "beta": 0.0,
    "temperature": 1.0,
    "temperature_form": TemperatureForm.softmax,
    "normalizer": Normalizer.full,
    "form": Form.difference,
    "expert_top_k": None,
    "min_tokens": 1,
    "pool": Pool.all,
}
