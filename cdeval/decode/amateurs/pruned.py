"""The expert with some of its blocks left out and all others kept, the last ones too (PruneCD, Yu et al. 2025).

The blocks before a gap hand their output to those behind it, which read it as if nothing were missing; the final norm
and the head stay. So its logits come from the same last blocks as the expert's, where an early exit's do not. With
nothing left out it is the expert itself, and what is left of a difference is (1 - β) log p_e.
"""

from cdeval.config.amateur import AMATEURS, Amateur
from cdeval.config.labels import layers_name
from cdeval.config.schema import AmateurConfig, ExpertConfig, RunConfig
from cdeval.config.variants import blocks_left_out
from cdeval.decode.amateurs.model import OwnPassKind
from cdeval.errors import ModelError
from cdeval.models.loading import LanguageModel, OpenedModel
from cdeval.models.truncate import without_blocks
from cdeval.prompts.load import PromptSet


class Pruned(OwnPassKind):
    """The expert without some blocks, with a forward pass of its own."""

    name = "pruned"
    reads = frozenset({"context", "left_out"})

    def check(self, config: AmateurConfig, expert: ExpertConfig) -> None:
        """Check that the blocks are numbers. Raises: ConfigError: they are not."""
        blocks_left_out(config.left_out)

    def amateur(self, config: AmateurConfig) -> Amateur:
        """Read which blocks are left out."""
        settings = (("left_out", blocks_left_out(config.left_out)),)
        return Amateur(self.name, context=config.context, negative=config.negative, settings=settings)

    def label(self, amateur: Amateur) -> str:
        """Name it for readers."""
        (left_out,) = dict(amateur.settings).values()
        return f"pruned of {layers_name(left_out)}" if left_out else "pruned of nothing"

    def open(self, config: RunConfig, expert: OpenedModel) -> None:
        """Check that the blocks are the expert's. Raises: ModelError: one is not, or none would be left."""
        left_out, depth = blocks_left_out(config.amateur.left_out), expert.config.num_hidden_layers
        if left_out and (left_out[-1] > depth or len(left_out) == depth):
            raise ModelError(
                f"amateur.left_out={list(left_out)} does not fit {expert.name}: it has L={depth} blocks, 1 to {depth}, "
                "of which at least one must be left."
            )

    def load(self, opened: None, config: RunConfig, expert: LanguageModel, prompts: PromptSet) -> LanguageModel:
        """Leave the blocks out; the weights are shared."""
        return without_blocks(expert, blocks_left_out(config.amateur.left_out))


AMATEURS.add(Pruned())
