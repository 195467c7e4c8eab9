"""The schema of `conf/lens.yaml`: which lenses are measured, and how a tuned one is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from cdeval.config.enums import Split
from cdeval.config.exits import Lens, validate_layers
from cdeval.config.fields import TextForm, When, check_values, number, read_when, shown, text
from cdeval.config.plugins import TakesPlugins
from cdeval.config.schema import MOST_SEED, BothSplits, ExpertConfig
from cdeval.config.validation import require_stored
from cdeval.errors import ConfigError


class FitMethod(Enum):
    """The method that finds translators.

    least_squares: in closed form, from one forward pass over the texts (`cdeval.lens.least_squares`). gradient: by
    Adam on the divergence from the expert (`cdeval.lens.fit`).
    """

    least_squares = "least_squares"
    gradient = "gradient"


class Start(Enum):
    """The start of the gradient method: zero, which is the final-norm lens, or the solution of least squares."""

    zero = "zero"
    least_squares = "least_squares"


class Weighting(Enum):
    """The weight of a position in least squares.

    direction: 1 / mean(h_L²), so that positions count alike after the final norm. equal: 1.
    """

    direction = "direction"
    equal = "equal"


class PruneBy(Enum):
    """The criterion for blocks to leave out: the highest anti-loop margin, or the lowest KL(expert || rest)."""

    margin = "margin"
    kl = "kl"


class PruneSearch(Enum):
    """The choices that are tried: one block more at a time, or blocks in a row."""

    greedy = "greedy"
    span = "span"


def methods_of(given: object) -> list[FitMethod]:
    """The methods that `fit.method` names: one, or a list of them.

    Raises: ConfigError: none, an unknown one, or one twice.
    """
    names = [shown(one) for one in given] if isinstance(given, list | tuple) else [shown(given)]
    if not names or len(set(names)) < len(names) or not set(names) <= set(FitMethod.__members__):
        choices = ", ".join(FitMethod.__members__)
        raise ConfigError(f"fit.method={shown(given)}: expected one of {choices}, or a list of them, each once.")
    return [FitMethod[name] for name in names]


RIDGE = 1e-3
_MOST_TOKENS = 1_000_000
_GRADIENT = When("fit.method", lambda given: FitMethod.gradient in methods_of(given), "add fit.method=gradient")
# Asked by `FitConfig.solves`, see `LensRun.decided_by`.
_SOLVED = When("fit.start", bool, "add fit.start=least_squares, or least_squares to fit.method")
_TRAINING = When("train", bool, "add train=true")
_NO_PICTURE = When("prompt", lambda prompt: prompt is None, "leave prompt= out")
_NO_STUDY = When("study", lambda study: study is None, "leave study= out")
_PRUNING = When("prune.blocks", lambda blocks: blocks is not None, "add prune.blocks=6")
_NO_PRUNING = When("prune.blocks", lambda blocks: blocks is None, "leave prune.blocks= out")
_UNCUT = When("text_tokens", lambda _tokens: False, "give text_tokens= instead, as lenses cut no prompts")
_MEASURING = (_NO_PICTURE, _NO_STUDY, _NO_PRUNING)


@dataclass
class FitConfig:
    """The training of the translators, on windows of the training texts."""

    # One, or a list: each makes a lens of its own, all are measured together.
    method: Any = "least_squares"
    window_tokens: int = number(256, least=2, most=_MOST_TOKENS)  # of the windows that training texts are cut into
    # Added to the diagonal of the normal equations, relative to it.
    ridge: float = number(RIDGE, least=0, most=1000, when=(_SOLVED,))
    weighting: Weighting = read_when(_SOLVED, default=Weighting.direction)
    start: Start = read_when(_GRADIENT, default=Start.zero)
    # Of Adam.
    steps: int = number(200, least=1, most=1_000_000, when=(_GRADIENT,))
    # Read by the expert in one pass; the steps that follow share their positions.
    windows: int = number(8, least=1, most=10_000, when=(_GRADIENT,))
    # Of a step: each costs a row of the head, twice a layer.
    positions: int = number(128, least=1, most=1_000_000, when=(_GRADIENT,))
    # At its highest.
    learning_rate: float = number(1e-3, least=0, open_least=True, most=1, open_most=True, when=(_GRADIENT,))
    # In this share of the steps the rate rises from 0; then it falls to 0, both linearly.
    warm_up: float = number(0.1, least=0, most=1, hint="a share of the steps", when=(_GRADIENT,))

    @property
    def methods(self) -> list[FitMethod]:
        """The methods that `method` names. Raises: ConfigError: as `methods_of`."""
        return methods_of(self.method)

    @property
    def solves(self) -> bool:
        """Whether the normal equations are solved, for a lens or for where the gradient method starts."""
        return FitMethod.least_squares in self.methods or self.start is Start.least_squares


@dataclass
class PruneConfig:
    """The search for blocks to leave out of the expert, for amateur=pruned."""

    # To be left out; null searches for none.
    blocks: int | None = number(None, least=1, most=1000)
    by: PruneBy = read_when(_PRUNING, default=PruneBy.margin)
    search: PruneSearch = read_when(_PRUNING, default=PruneSearch.greedy)
    # Of the tuning split, and of the other one on which the result is measured.
    passages: int = number(16, least=1, most=100_000, when=(_PRUNING,))


@dataclass
class LensPrompts(BothSplits):
    """Whole texts, of which `text_tokens` says how much is measured."""

    prompt_tokens: int = number(32, least=1, most=_MOST_TOKENS, when=(_UNCUT,))  # of a prompt; lenses read whole texts
    # Texts of each split.
    limit: int | None = number(None, least=1, most=100_000_000, hint="null is all of them")


@dataclass
class LensRun(TakesPlugins):
    """The root of `conf/lens.yaml`."""

    decided_by: ClassVar[Mapping[str, str]] = {"fit.start": "fit.solves"}
    train: bool = False  # fit a tuned lens before measuring it
    # Draw what each layer would say after each token of it, and measure nothing else.
    prompt: str | None = text(None, TextForm.prose)
    study: str | None = None  # a study's folder: hold its exits' margins against its texts, and measure nothing else
    # One or a list, in blocks or fractions of the depth; null: all that can be exits.
    layers: Any = read_when(_NO_STUDY, _NO_PRUNING, default=None)
    # Measured beside the tuned one; a picture is drawn through the first.
    lenses: list[Lens] = read_when(_NO_STUDY, _NO_PRUNING, factory=lambda: [Lens.norm, Lens.raw])
    lens_file: str | None = read_when(_NO_STUDY, _NO_PRUNING, default=None)  # a tuned lens to be measured
    # Of held-out text that are measured.
    positions: int = number(4096, least=1, most=100_000_000, when=_MEASURING)
    # Of each held-out text, from its beginning.
    text_tokens: int = number(256, least=2, most=_MOST_TOKENS, when=(_NO_PICTURE,))
    # Of the contrast whose changes are counted, as contrast.alpha, beta and temperature of a study.
    alpha: float = number(0.3, least=0, open_least=True, most=1, when=_MEASURING)
    # Weight of the amateur.
    beta: float = number(1.0, least=0, most=1000, when=(_NO_PICTURE, _NO_STUDY))
    # Of the amateur.
    temperature: float = number(2.0, least=0.001, most=10_000, when=(_NO_PICTURE, _NO_STUDY))
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    # Source; training texts are those of its split.
    prompts: LensPrompts = read_when(_NO_PICTURE, factory=LensPrompts)
    fit: FitConfig = read_when(_TRAINING, factory=FitConfig)
    prune: PruneConfig = field(default_factory=PruneConfig)  # find blocks to leave out, and measure nothing else
    runs: str = "runs"  # results go to <runs>/lens/
    out: str | None = None  # the file to be written instead: a lens with train=true, otherwise its scores
    seed: int = number(0, least=0, most=MOST_SEED)  # of windows and positions


def validate_lens(config: LensRun) -> LensRun:
    """Check every range and combination that needs no model; returns the same object.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_values(config)
    require_stored(config.expert, "cdeval.lens")
    if config.layers is not None:
        validate_layers("layers", config.layers)
    if config.prompts.chat_template:
        raise ConfigError("prompts.chat_template=true: lenses read whole texts, and no chat. Leave it out.")
    if config.prompt is not None and config.train:
        raise ConfigError("prompt= with train=true: a picture of one prompt trains nothing. Leave one of them out.")
    if config.study is not None and (config.train or config.prompt is not None):
        raise ConfigError("study= reads a study that is made: it goes with neither train=true nor prompt=.")
    if config.prune.blocks is not None and (config.train or config.prompt is not None or config.study is not None):
        raise ConfigError(
            "prune.blocks= searches for blocks to leave out: it goes with none of train=true, prompt= and study=."
        )
    if config.prompts.split is Split.all:
        raise ConfigError(
            "prompts.split=all: a lens is trained on one split and measured on the other; expected tune or test."
        )
    _validate_fit(config.fit)
    _validate_files(config)
    return config


def _validate_fit(fit: FitConfig) -> None:
    if FitMethod.gradient in fit.methods and fit.positions > fit.windows * fit.window_tokens:
        raise ConfigError(
            f"fit.positions={fit.positions} is more than is read at a time: fit.windows={fit.windows} windows of "
            f"fit.window_tokens={fit.window_tokens} tokens. Lower it, or read more."
        )


def _validate_files(config: LensRun) -> None:
    translating = [lens.name for lens in config.lenses if lens.translates]
    if translating:
        raise ConfigError(
            f"lenses=[{translating[0]}] is what train=true or lens_file= adds: expected some of norm and raw, or []."
        )
    if config.train and config.lens_file is not None:
        raise ConfigError(
            f"lens_file={config.lens_file} with train=true: it would not be read. Name the file to write by out=."
        )
    if not config.train and not config.lenses and config.lens_file is None:
        raise ConfigError("lenses=[] measures nothing: expected norm or raw, lens_file=, or train=true.")
    suffix = ".safetensors" if config.train else ".json" if config.prompt is None else ".html"
    if config.out is not None and not config.out.endswith(suffix):
        raise ConfigError(f"out={config.out} is no file name for this: expected one that ends with {suffix}.")
