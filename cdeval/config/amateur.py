"""An amateur, whose predictions are subtracted from the expert's, and what each kind of amateur knows about itself."""

from dataclasses import dataclass
from typing import Any

from cdeval.config.enums import Context, Normalizer
from cdeval.config.exits import ConfidenceMeasure, Lens, Selection
from cdeval.config.methods import Method, Registry, Values, holds_methods, named
from cdeval.config.schema import AmateurConfig, ExpertConfig
from cdeval.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Amateur:
    """An amateur by its settings; one that its kind does not read has its default."""

    kind: str = "none"
    layer: int | None = None  # blocks before the exit, or of the truncated model; None where it is chosen
    name: str | None = None  # of a second model
    revision: str | None = None  # of a second model
    context: Context = Context.full  # of an amateur with a forward pass of its own
    order: int | None = None  # of n-grams
    lens: Lens = Lens.norm  # of an early exit
    lens_file: str | None = None  # of a tuned lens; its content, not its name, tells texts apart
    selection: Selection = Selection.fixed  # of an early exit
    layers: tuple[int, ...] = ()  # candidates of a selection, ascending
    measure: ConfidenceMeasure | None = None  # of selection=confidence
    threshold: float | None = None  # of selection=confidence, before its decay
    settings: Values = ()  # of its kind alone
    lens_texts: str | None = None  # that a linear lens is fitted to; their content, not their name, tells texts apart
    sled_tokens: int | None = None  # of selection=sled
    negative: str | None = None  # text that context=negative reads in the prompt's place

    @property
    def contrasts(self) -> bool:
        """Whether there is anybody to subtract."""
        return self.kind != "none"

    @property
    def exits(self) -> tuple[int, ...]:
        """The layers of the expert that the amateur reads."""
        return self.layers if self.layer is None else (self.layer,)


class AmateurKind(Method):
    """One kind of amateur. A kind of ours or of a plug-in is a subclass in one file, and overrides what differs.

    Objects of models are `Any` here, because the configuration is read without torch; the subclasses name their types.
    """

    reads_expert = False  # whether it reads blocks of the expert's own forward pass, so the expert must reach them
    draws = False  # whether the seed shapes its logits
    reads_weights = False  # whether `load` reads the expert's matrices, which packing them takes away

    def check(self, config: AmateurConfig, expert: ExpertConfig) -> None:
        """Check the kind's settings, before any model is opened. Raises: ConfigError: one is wrong or missing."""

    def amateur(self, config: AmateurConfig) -> Amateur:
        """Read the settings of the kind; layers are numbers of blocks by now."""
        return Amateur(self.name, settings=self.values(config))

    def label(self, amateur: Amateur) -> str:
        """Name an amateur for readers in a few words."""
        return named(amateur.kind, amateur.settings)

    def fits_temperature(self, config: AmateurConfig) -> bool:
        """Tell whether one layer's distribution is the amateur, so that a temperature can be fitted to it."""
        return False

    def needs(self, config: AmateurConfig) -> tuple[str, str] | None:
        """Name a setting that random weights cannot serve, and what it needs; None: there is none."""
        return None

    def learns(self, config: AmateurConfig) -> bool:
        """Tell whether `load` reads texts of the prompts' source."""
        return False

    def in_blocks(self, config: AmateurConfig, depth: int, expert: str) -> AmateurConfig:
        """Put numbers of blocks for fractions of the expert's depth. Raises: ModelError: its layers do not fit."""
        return config

    def open(self, config: Any, expert: Any) -> Any:
        """Find what the amateur is made of, and check that it fits the expert; weights are not read yet.

        Args:
            config: a `RunConfig`.
            expert: an `OpenedModel`.

        Returns: an `OpenedModel`, a `TunedLens`, or whatever `load` takes.

        Raises: ModelError: it cannot be opened, or does not fit.
        """
        return None

    def load(self, opened: Any, config: Any, expert: Any, prompts: Any) -> Any:
        """Load what the amateur is made of beside the expert.

        Args:
            opened: as `open` returned it.
            config: a `RunConfig`.
            expert: the loaded `LanguageModel`.
            prompts: the study's `PromptSet`.

        Returns: a `LanguageModel`, or any object whose `digest` tells it from others; None: there is nothing.

        Raises: CdevalError: it cannot be loaded.
        """
        return None

    def source(self, amateur: Amateur, loaded: Any, expert: Any, lanes: Any) -> Any:
        """Make a fresh `Source` of logits for the lanes of one batch; None where the expert's own pass has them."""
        return None

    def head_rows(self, amateur: Amateur) -> int:
        """Count the rows of the head that the amateur takes for one beam."""
        return 1

    def flops(self, amateur: Amateur, normalizer: Normalizer, costs: Any) -> float:
        """Count the FLOPs for a token and beam that no model of its own accounts for.

        `costs` are the expert's `TokenFlops`.
        """
        return 0

    def traffic(self, amateur: Amateur, normalizer: Normalizer, costs: Any, rows: int) -> float:
        """Count the bytes moved for some rows of one step that no model of its own accounts for.

        `costs` are the expert's `TokenBytes`.
        """
        return 0


AMATEURS: Registry[AmateurKind] = Registry("amateur", "cdeval.decode.amateurs")
holds_methods(AMATEURS, "kind")(AmateurConfig)


def kind_of(amateur: Amateur) -> AmateurKind:
    """Look up the kind of an amateur. Raises: ConfigError: its plug-in is not loaded."""
    return AMATEURS[amateur.kind]


def check_context(config: AmateurConfig) -> None:
    """Check that a negative prompt is there where it is to be read. Raises: ConfigError: it is not."""
    if config.context is Context.negative and config.negative is None:
        raise ConfigError(
            "amateur.context=negative needs amateur.negative: the text that the amateur reads in the prompt's place."
        )


def amateur_of(config: AmateurConfig) -> Amateur:
    """Make the amateur that the configuration asks for; settings that its kind does not read have their defaults.

    Layers are numbers of blocks by now.
    """
    return AMATEURS[config.kind].amateur(config)
