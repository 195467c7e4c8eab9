"""The expert itself under another prompt: what it would say anyway is subtracted from what the prompt makes it say.

    amateur.context=removed     without the `context` of each item: context-aware decoding (Shi et al. 2023)
    amateur.context=generated   after the prompt's last token: classifier-free guidance (Sanchez et al. 2023)
    amateur.context=negative    after the text of `amateur.negative`: guidance away from it (the same)
    amateur.context=empty       after the token that begins a text

The weights are the expert's, the key-value cache is its own. Both papers write the contrast as contrast.form=amplified,
(1 + β) log p_e − β log p_a, over all tokens: CAD's α is β, CFG's γ is 1 + β.
"""

from cdeval.config.amateur import AMATEURS, Amateur
from cdeval.config.enums import Context
from cdeval.config.schema import AmateurConfig, ExpertConfig, RunConfig
from cdeval.decode.amateurs.model import OwnPassKind
from cdeval.errors import ConfigError
from cdeval.models.loading import LanguageModel
from cdeval.prompts.load import PromptSet


class OtherContext(OwnPassKind):
    """The expert, which reads another prompt."""

    name = "context"
    reads = frozenset({"context"})

    def check(self, config: AmateurConfig, expert: ExpertConfig) -> None:
        """Check that it reads something else. Raises: ConfigError: it reads what the expert reads."""
        if config.context is Context.full:
            raise ConfigError(
                "amateur=context with amateur.context=full is the expert itself, word for word: expected "
                "amateur.context=removed, generated, negative or empty."
            )

    def amateur(self, config: AmateurConfig) -> Amateur:
        """Read its context."""
        return Amateur(self.name, context=config.context, negative=config.negative)

    def label(self, amateur: Amateur) -> str:
        """Name it for readers; its context follows."""
        return "expert"

    def load(self, opened: None, config: RunConfig, expert: LanguageModel, prompts: PromptSet) -> LanguageModel:
        """Take the expert itself."""
        return expert


AMATEURS.add(OtherContext())
