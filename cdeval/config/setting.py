"""A setting: everything but the prompt and the expert that shapes a text, and how a configuration asks for it."""

from dataclasses import dataclass, replace
from typing import Any

from cdeval.config.amateur import AMATEURS, Amateur, amateur_of, kind_of
from cdeval.config.enums import Ban, Form, Normalizer, Pool, SearchKind, TemperatureForm
from cdeval.config.exits import AdaptiveExitConfig, ConfidenceMeasure, Lens
from cdeval.config.plausibility import ALPHA, Plausibility, plausibility_of
from cdeval.config.schema import ContrastConfig, RunConfig
from cdeval.config.targets import written
from cdeval.config.token_weight import CONSTANT, Gate, TokenWeight, Weight


@dataclass(frozen=True, slots=True)
class Sampling:
    """The random draw of next tokens; None narrows nothing. Other searches than sampling have the defaults."""

    seed: int = 0  # of the draws
    samples: int = 1  # continuations a prompt
    temperature: float = 1.0  # τ of the scores that are drawn from, not of the amateur
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    eta: float | None = None  # ε of eta sampling


@dataclass(frozen=True, slots=True)
class AdaptiveExit:
    """The rule by which the expert itself may stop at a token (`cdeval.decode.adaptive`)."""

    measure: ConfidenceMeasure
    threshold: float  # λ, before its decay
    decay: float  # τ
    layers: tuple[int, ...]  # blocks before each possible exit, ascending
    linear: bool = False  # read through the linear lens; otherwise by the final norm alone
    lens_texts: str | None = None  # as `Amateur.lens_texts`

    def __post_init__(self) -> None:
        if not self.layers or list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"layers with an exit: {self.layers}, expected at least one, ascending, each once")

    @property
    def read_as(self) -> Amateur | None:
        """The amateur that would read these layers through the same lens; None: without one."""
        if not self.linear:
            return None
        return Amateur("early_exit", layers=self.layers, lens=Lens.linear, lens_texts=self.lens_texts)


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
    plausibility: Plausibility = ALPHA  # where there is no amateur, alpha stands for no rule
    generate: str = ""  # arguments of search=hf, as `targets.written` writes them
    token_weight: TokenWeight = CONSTANT  # of the amateur, beside beta

    def __post_init__(self) -> None:
        if self.adaptive_exit is not None and kind_of(self.amateur).reads_expert:
            first, amateur = min(self.adaptive_exit.layers), max(self.amateur.exits)
            if first <= amateur:
                raise ValueError(f"an exit of the expert after block {first} hides its amateur, block {amateur}")

    @property
    def is_plain(self) -> bool:
        """Whether this is the expert alone, with all of its blocks and all of its tokens."""
        return self.adaptive_exit is None and not self.amateur.contrasts and not self.masks_alone

    @property
    def masks_alone(self) -> bool:
        """Whether a rule says which tokens may be chosen although there is no amateur."""
        return not self.amateur.contrasts and self.plausibility != ALPHA


def setting_of(config: RunConfig) -> Setting:
    """The setting that the configuration asks for; its layers are blocks and its temperature a number by now."""
    amateur = amateur_of(config.amateur)
    rule = plausibility_of(config.contrast, contrasted=amateur.contrasts)
    return Setting(
        amateur=amateur,
        alpha=config.contrast.alpha if rule == ALPHA else 1.0,
        beta=config.contrast.beta,
        temperature=float(config.contrast.temperature) if amateur.contrasts else 1.0,
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
        plausibility=rule,
        generate=written(config.search.generate) if config.search.kind is SearchKind.hf else "",
        token_weight=token_weight_of(config.contrast) if amateur.contrasts else CONSTANT,
    )


def token_weight_of(config: ContrastConfig) -> TokenWeight:
    """The weight of a token that the configuration asks for."""
    return TokenWeight(
        config.weight,
        config.weight_most if config.weight is Weight.entropy else None,
        config.gate,
        config.gate_entropy if config.gate is Gate.entropy else None,
        written(config.gate_call) if config.gate is Gate.callable else "",
    )


def sampling_of(config: RunConfig) -> Sampling:
    """The random draws that the configuration asks for; without any the seed shapes no text."""
    search = config.search
    if search.kind is SearchKind.hf:
        return Sampling(seed=config.seed, samples=search.samples)
    if search.kind is not SearchKind.sample:
        return Sampling(seed=config.seed) if AMATEURS[config.amateur.kind].draws else Sampling()
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
    linear = config.lens is Lens.linear
    return AdaptiveExit(config.measure, config.threshold, config.decay, tuple(config.layers), linear, config.lens_texts)


def expert_alone(setting: Setting) -> Setting:
    """Make a setting's control: its search by all blocks without a contrast, whose settings are fixed."""
    sampling = setting.sampling if setting.search.seeded else Sampling()
    return replace(setting, adaptive_exit=None, sampling=sampling, **ALONE)


def canonical(setting: Setting) -> Setting:
    """Fix what nobody reads without an amateur, so that two settings which write the same texts are equal."""
    if setting.amateur.contrasts:
        return setting
    kept: dict[str, Any] = {"adaptive_exit": setting.adaptive_exit}
    if setting.masks_alone:
        kept |= {name: getattr(setting, name) for name in ("plausibility", "expert_top_k", "min_tokens")}
    return replace(expert_alone(setting), **kept)


# What the expert alone does not read.
ALONE: dict[str, Any] = {
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
    "plausibility": ALPHA,
    "token_weight": CONSTANT,
}
