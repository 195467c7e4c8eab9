"""The expert with rounded weights, or without some of them (Phan et al. 2024, Distillation Contrastive Decoding).

    w -> round(w / s) s,  s = max |w| of the row / (2^(bits - 1) - 1)       amateur.bits
    w -> w m / (1 - p),   m = 0 with probability p, else 1                  amateur.dropout

The matrices of the blocks are damaged once, when a study opens. DCD drops activations anew at every pass, so that its
texts depend on what was decoded before them; here the same weights are missing at every token of every text, whatever
is decoded beside it, and a resumed study writes the same texts. The amateur has matrices of its own: it is priced by
the FLOPs of a second expert, and by the bytes of its numbers as they are kept, which is the expert's number format.
"""

from cdeval.config.amateur import AMATEURS, Amateur
from cdeval.config.schema import AmateurConfig, ExpertConfig, RunConfig
from cdeval.decode.amateurs.model import OwnPassKind
from cdeval.errors import ConfigError
from cdeval.models.loading import LanguageModel
from cdeval.models.noise import with_noise
from cdeval.models.packing import can_pack
from cdeval.prompts.load import PromptSet


class Noise(OwnPassKind):
    """The expert with damaged weights, with a forward pass of its own."""

    name = "noise"
    reads = frozenset({"context", "bits", "dropout", "noise_seed"})
    reads_weights = True

    def check(self, config: AmateurConfig, expert: ExpertConfig) -> None:
        """Check that something changes. Raises: ConfigError: it is the expert itself."""
        if config.bits is None and not config.dropout:
            raise ConfigError(
                "amateur=noise with amateur.bits=null and amateur.dropout=0 is the expert itself: give amateur.bits=4, "
                "or amateur.dropout=0.1."
            )

    def amateur(self, config: AmateurConfig) -> Amateur:
        """Read what is done to the weights; the seed counts where something is drawn."""
        drawn = (("noise_seed", config.noise_seed),) if config.dropout else ()
        settings = (("bits", config.bits), ("dropout", config.dropout), *drawn)
        return Amateur(self.name, context=config.context, negative=config.negative, settings=settings)

    def label(self, amateur: Amateur) -> str:
        """Name it for readers."""
        own = dict(amateur.settings)
        words = ["noise"]
        words += [f"{own['bits']} bits"] if own["bits"] is not None else []
        words += [f"dropout {own['dropout']:g}"] if own["dropout"] else []
        words += [f"seed {own['noise_seed']}"] if own.get("noise_seed") else []
        return " ".join(words)

    def load(self, opened: None, config: RunConfig, expert: LanguageModel, prompts: PromptSet) -> LanguageModel:
        """Copy the blocks, and damage the copies."""
        amateur = config.amateur
        packed = can_pack(expert.model)
        return with_noise(expert, amateur.bits, amateur.dropout, amateur.noise_seed, packed=packed)


AMATEURS.add(Noise())
