"""The schema of `conf/lens.yaml`: which lenses are measured, and how a tuned one is trained."""

from dataclasses import dataclass, field
from typing import Any

from cdeval.choices import Split
from cdeval.config import ExpertConfig, PromptsConfig
from cdeval.errors import ConfigError
from cdeval.exitconfig import Lens, validate_layers
from cdeval.validation import check_ranges, require_stored


@dataclass
class FitConfig:
    """How the translators are trained: Adam on windows of the training texts."""

    steps: int = 200
    windows: int = 8  # read by the expert in one pass; the steps that follow share their positions
    window_tokens: int = 256
    positions: int = 128  # of a step: each costs a row of the head, twice a layer
    learning_rate: float = 1e-3  # at its highest
    warm_up: float = 0.1  # share of the steps in which it rises from 0; then it falls to 0, both linearly


@dataclass
class LensRun:
    """The root of `conf/lens.yaml`."""

    train: bool = False  # fit a tuned lens before measuring it
    prompt: str | None = None  # draw what each layer would say after each token of it, and measure nothing else
    study: str | None = None  # a study's folder: hold its exits' margins against its texts, and measure nothing else
    layers: Any = None  # one or a list, in blocks or fractions of the depth; null: all that can be exits
    lenses: list[Lens] = field(default_factory=lambda: [Lens.norm, Lens.raw])  # measured beside the tuned one
    lens_file: str | None = None  # a tuned lens to be measured
    positions: int = 4096  # of held-out text that are measured
    text_tokens: int = 256  # of each held-out text, from its beginning
    alpha: float = 0.3  # of the contrast whose changes are counted, as contrast.alpha, beta and temperature of a study
    beta: float = 1.0
    temperature: float = 2.0
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)  # source; training texts are those of its split
    fit: FitConfig = field(default_factory=FitConfig)
    runs: str = "runs"  # results go to <runs>/lens/
    out: str | None = None  # the file to be written instead: a lens with train=true, otherwise its scores
    seed: int = 0  # of windows and positions


_COUNTS = ("fit.steps", "fit.windows", "fit.window_tokens", "fit.positions", "positions", "text_tokens")


def validate_lens(config: LensRun) -> LensRun:
    """Check every range and combination that needs no model; returns the same object.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_ranges(config, ("seed",))
    require_stored(config.expert, "cdeval.lens")
    if config.layers is not None:
        validate_layers("layers", config.layers)
    for name in _COUNTS:
        group, _, key = name.rpartition(".")
        value = getattr(getattr(config, group) if group else config, key)
        least = 2 if key.endswith("_tokens") else 1
        if value < least:
            raise ConfigError(f"{name}={value} is out of range: expected at least {least}.")
    if not (0 < config.alpha <= 1 and config.beta >= 0 and config.temperature > 0):
        raise ConfigError(
            f"alpha={config.alpha} beta={config.beta} temperature={config.temperature}: expected alpha in (0, 1], beta "
            ">= 0 and temperature > 0, as in a study's contrast."
        )
    if config.prompt is not None and config.train:
        raise ConfigError("prompt= with train=true: a picture of one prompt trains nothing. Leave one of them out.")
    if config.study is not None and (config.train or config.prompt is not None):
        raise ConfigError("study= reads a study that is made: it goes with neither train=true nor prompt=.")
    if config.prompts.split is Split.all:
        raise ConfigError(
            "prompts.split=all: a lens is trained on one split and measured on the other; expected tune or test."
        )
    _validate_fit(config.fit)
    _validate_files(config)
    return config


def _validate_fit(fit: FitConfig) -> None:
    if fit.positions > fit.windows * fit.window_tokens:
        raise ConfigError(
            f"fit.positions={fit.positions} is more than is read at a time: fit.windows={fit.windows} windows of "
            f"fit.window_tokens={fit.window_tokens} tokens. Lower it, or read more."
        )
    if not 0 < fit.learning_rate < 1:
        raise ConfigError(f"fit.learning_rate={fit.learning_rate} is out of range: expected a number in (0, 1).")
    if not 0 <= fit.warm_up <= 1:
        raise ConfigError(f"fit.warm_up={fit.warm_up} is out of range: expected a share of the steps in [0, 1].")


def _validate_files(config: LensRun) -> None:
    if Lens.tuned in config.lenses:
        raise ConfigError("lenses=[tuned] is what train=true or lens_file= adds: expected some of norm and raw, or [].")
    if config.train and config.lens_file is not None:
        raise ConfigError(
            f"lens_file={config.lens_file} with train=true: it would not be read. Name the file to write by out=."
        )
    if not config.train and not config.lenses and config.lens_file is None:
        raise ConfigError("lenses=[] measures nothing: expected norm or raw, lens_file=, or train=true.")
    suffix = ".safetensors" if config.train else ".json" if config.prompt is None else ".html"
    if config.out is not None and not config.out.endswith(suffix):
        raise ConfigError(f"out={config.out} is no file name for this: expected one that ends with {suffix}.")
