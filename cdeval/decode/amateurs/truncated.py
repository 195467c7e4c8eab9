"""The expert's first blocks as a separate model with its own cache: an early exit's texts at another price."""

from dataclasses import replace

from cdeval.config.amateur import AMATEURS, Amateur
from cdeval.config.exits import blocks_of, check_depth, validate_layers
from cdeval.config.schema import AmateurConfig, ExpertConfig, RunConfig
from cdeval.decode.amateurs.model import OwnPassKind
from cdeval.errors import ConfigError
from cdeval.models.loading import LanguageModel, OpenedModel
from cdeval.models.truncate import truncate
from cdeval.prompts.load import PromptSet


class Truncated(OwnPassKind):
    """The expert after `layer` blocks, with a forward pass of its own."""

    name = "truncated"
    reads = frozenset({"context", "layer"})

    def check(self, config: AmateurConfig, expert: ExpertConfig) -> None:
        """Check that there is one layer. Raises: ConfigError: there is none, or several."""
        validate_layers("amateur.layer", config.layer, needed_by=self.name)
        if isinstance(config.layer, list):
            raise ConfigError(
                f"amateur.layer={config.layer} with amateur=truncated: a truncated model has one last block; a choice "
                "among layers needs amateur=early_exit."
            )

    def amateur(self, config: AmateurConfig) -> Amateur:
        """Read its layer and context."""
        return Amateur(self.name, config.layer, context=config.context, negative=config.negative)

    def label(self, amateur: Amateur) -> str:
        """Name it for readers."""
        return f"truncated k={amateur.layer}"

    def fits_temperature(self, config: AmateurConfig) -> bool:
        """Say so always: its last block is one layer."""
        return True

    def in_blocks(self, config: AmateurConfig, depth: int, expert: str) -> AmateurConfig:
        """Put a number of blocks for a fraction of the depth."""
        return replace(config, layer=blocks_of(config.layer, depth)[0])

    def open(self, config: RunConfig, expert: OpenedModel) -> None:
        """Check the layer. Raises: ModelError: it lies outside the expert."""
        check_depth(expert.config.num_hidden_layers, config.amateur.layer, expert.name)

    def load(self, opened: None, config: RunConfig, expert: LanguageModel, prompts: PromptSet) -> LanguageModel:
        """Cut the expert; the weights are shared."""
        return truncate(expert, config.amateur.layer)


AMATEURS.add(Truncated())
