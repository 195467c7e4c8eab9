"""Early exits in the schema: which one is the amateur and through which lens, and where the expert itself may stop.

Layers are whole numbers of blocks, or fractions of the depth, which become whole ones as soon as the expert is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from cdeval.config.fields import When, new_number, number, only, read_when, shown, written_unless_default
from cdeval.errors import ConfigError, ModelError

DECAY = 4.0  # τ of a threshold that falls along the text, as published (Schuster et al. 2022)


class Lens(Enum):
    """The way in which a block's output becomes logits.

    norm: the expert's final norm, then its head (the logit lens). raw: the head alone (DoLa, Chuang et al. 2023).
    tuned: a trained affine translator, then final norm and head (Belrose et al. 2023). linear: the same, its translator
    fitted by least squares while a study opens (`cdeval.lens.least_squares`).
    """

    norm = "norm"
    raw = "raw"
    tuned = "tuned"
    linear = "linear"

    @property
    def translates(self) -> bool:
        """Whether a translator comes before the final norm."""
        return self in (Lens.tuned, Lens.linear)


WITHOUT_FILE = tuple(lens.name for lens in Lens if lens is not Lens.tuned)


class Selection(Enum):
    """The choice of the amateur among the candidate layers (`cdeval.decode.selection`).

    fixed: there is one. jsd: for every token the one furthest from the expert (DoLa, Chuang et al. 2023). confidence:
    for every token the first one that is sure enough (CALM, Schuster et al. 2022). sled: none of them, but what they
    say together of the expert's likeliest tokens (SLED, Zhang et al. 2024).
    """

    fixed = "fixed"
    jsd = "jsd"
    confidence = "confidence"
    sled = "sled"


class ConfidenceMeasure(Enum):
    """The measure of confidence.

    softmax: the gap between the two largest probabilities. saturation: the cosine between the outputs of the block and
    of the one before it.
    """

    softmax = "softmax"
    saturation = "saturation"


_EXITS = only("amateur.kind", "early_exit")
_TUNED = only("amateur.lens", Lens.tuned)
_LINEAR = only("amateur.lens", Lens.linear)
_EVOLVED = only("amateur.selection", Selection.sled)
_CONFIDENT = only("amateur.selection", Selection.confidence)
_ADAPTIVE = When(
    "search.adaptive_exit.threshold",
    lambda threshold: threshold is not None,
    "add search.adaptive_exit.threshold=0.9, or another number in [0, 1]",
)
_OWN_LINEAR = only("search.adaptive_exit.lens", Lens.linear)


@dataclass(kw_only=True)
class ExitConfig:
    """The settings that only amateur=early_exit reads, beside the layer."""

    lens: Lens = read_when(_EXITS, default=Lens.norm)
    lens_file: str | None = read_when(_EXITS, _TUNED, default=None)  # as `python -m cdeval.lens train=true` writes it
    # A JSON or JSONL file of texts to fit the linear lens to; null: the split that the prompts are not of, of both
    # embedded sources where they are of one.
    lens_texts: str | None = written_unless_default(_EXITS, _LINEAR, default=None)
    selection: Selection = read_when(_EXITS, default=Selection.fixed)
    measure: ConfidenceMeasure = read_when(_EXITS, _CONFIDENT, default=ConfidenceMeasure.softmax)
    # The expert's likeliest tokens, about which the layers are asked.
    sled_tokens: int = new_number(10, least=1, most=10_000, hint="5 to 20 are published", when=(_EXITS, _EVOLVED))
    # Lambda; it decays along the text as published.
    threshold: float = number(0.5, least=0, most=1, when=(_EXITS, _CONFIDENT))


@dataclass(kw_only=True)
class AdaptiveExitConfig:
    """The blocks at which the expert itself may stop (CALM, Schuster et al. 2022, see `cdeval.decode.adaptive`)."""

    # λ; null: every token goes through all blocks.
    threshold: float | None = number(None, least=0, most=1, hint="null is no early exits")
    measure: ConfidenceMeasure = read_when(_ADAPTIVE, default=ConfidenceMeasure.softmax)
    # τ; 0: the threshold stays at 0.9 λ + 0.1.
    decay: float = number(DECAY, least=0, most=10_000, hint="4 is published, 0 is no decay", when=(_ADAPTIVE,))
    # With an exit: a list, or one number, it and all layers after it; null: all.
    layers: Any = read_when(_ADAPTIVE, default=None)
    # How an exit is read: norm or linear.
    lens: Lens = written_unless_default(_ADAPTIVE, default=Lens.norm)
    lens_texts: str | None = written_unless_default(_ADAPTIVE, _OWN_LINEAR, default=None)  # as amateur.lens_texts


_LAYER = "a whole number of blocks from 1, or a fraction of the depth in (0, 1)"


def validate_layers(setting: str, given: object, needed_by: str = "") -> list[int | float]:
    """The layers of a setting that is one layer or a list of them, and that a kind of amateur may need.

    Raises: ConfigError: one of them is neither a number of blocks nor a fraction of the depth, or it is missing.
    """
    if needed_by and given is None:
        raise ConfigError(
            f"amateur={needed_by} needs amateur.layer: the number of blocks before the exit, 1 <= layer < L."
        )
    layers: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    if not layers:
        raise ConfigError(f"{setting}=[] names no layer: expected {_LAYER}, or a list of such.")
    for layer in layers:
        whole = isinstance(layer, int) and not isinstance(layer, bool) and layer >= 1
        if not whole and not (isinstance(layer, float) and 0 < layer < 1):
            raise ConfigError(f"{setting}={shown(given)} is out of range: expected {_LAYER}.")
    return layers


def in_blocks(layers: Sequence[int | float], depth: int) -> list[int]:
    """Fractions of the depth L as blocks, rounded and kept within 1 and L - 1; ascending, each once.

    >>> in_blocks([0.8, 24, 0.01, 0.99], 30)
    [1, 24, 29]
    """
    blocks = {layer if isinstance(layer, int) else min(max(round(layer * depth), 1), depth - 1) for layer in layers}
    return sorted(blocks)


def blocks_of(layer: object, depth: int) -> list[int]:
    """The layers of `amateur.layer` as blocks. Raises: ConfigError: as `validate_layers`."""
    return in_blocks(validate_layers("amateur.layer", layer), depth)


def check_depth(depth: int, layer: int, name: str, setting: str = "amateur.layer") -> None:
    """Check that an exit layer lies inside a model.

    Args: depth: L, its number of blocks. layer: blocks before the exit. name: of the model. setting: that gives it.
    Raises: ModelError: outside 1..L-1, naming L.
    """
    if not 1 <= layer < depth:
        raise ModelError(
            f"{setting}={layer} is outside {name}: it has L={depth} blocks, "
            f"and an exit comes after 1 to {depth - 1} of them."
        )


def validate_exit(config: ExitConfig, layer: object) -> None:
    """Check the settings of an early exit.

    Raises: ConfigError: a layer is no layer; a choice without candidates, or candidates without a choice; no lens file.
    """
    layers = validate_layers("amateur.layer", layer)
    if config.selection is Selection.fixed and isinstance(layer, list):
        each = ",".join(map(str, layers))
        raise ConfigError(
            f"amateur.layer={shown(layer)} with amateur.selection=fixed: one study has one fixed exit. For a study a "
            f"layer: --multirun amateur.layer={each}; for a choice at every token: amateur.selection=jsd or confidence."
        )
    if config.selection is not Selection.fixed and len(layers) < 2:
        raise ConfigError(
            f"amateur.selection={config.selection.name} chooses among layers, and amateur.layer={shown(layer)} leaves "
            "no choice: give at least two, as amateur.layer=[20,24,28]."
        )
    if config.lens is Lens.tuned and config.lens_file is None:
        raise ConfigError(
            "amateur.lens=tuned needs amateur.lens_file: the file that `python -m cdeval.lens train=true` writes. "
            "amateur.lens=linear needs none."
        )
