"""The models that score, opened only where a metric needs them."""

from collections.abc import Collection
from dataclasses import dataclass

from cdeval import assets
from cdeval.config import ExpertConfig, MetricsConfig
from cdeval.metrics.coherence import Embedder
from cdeval.metrics.scorer import Scorer
from cdeval.models.loading import open_model

READ_BY_SCORER = frozenset({"mauve", "perplexity_expert"})  # metrics that need a language model
COUNTED_IN_TOKENS = READ_BY_SCORER | {"tokens"}  # metrics that need the texts' token ids


@dataclass(frozen=True, slots=True)
class Judges:
    """The models that score; those that the chosen metrics do not need may be left out."""

    scorer: Scorer | None  # the generations' token ids are its tokens
    embedder: str | Embedder  # for coherence; a name (folder or hub id) is loaded for as long as it is needed
    featurizer: Scorer | None = None  # for MAUVE; None is the scorer itself

    def required_scorer(self) -> Scorer:
        """The scorer. Raises: ValueError: it was left out."""
        if self.scorer is None:
            raise ValueError("a metric that reads texts with a language model needs judges.scorer")
        return self.scorer


def open_judges(names: Collection[str], config: MetricsConfig, scorer: Scorer | None) -> Judges:
    """What the metrics `names` need beside the scorer.

    Raises: ModelError, HubError, AssetError: a model cannot be found or read.
    """
    other = "mauve" in names and config.mauve_features != "expert"
    return Judges(
        scorer=scorer,
        embedder=assets.resolve(config.embedder) if "coherence" in names else config.embedder,
        featurizer=open_model(ExpertConfig(name=config.mauve_features)).load() if other else None,
    )
