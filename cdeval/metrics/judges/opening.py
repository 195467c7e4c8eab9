"""The models that score, opened only where a metric needs them."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cdeval.assets import embedded as assets
from cdeval.config.schema import ExpertConfig, MetricsConfig
from cdeval.metrics.codebook import MEASURES
from cdeval.metrics.features import NO_CACHE, FeatureCache
from cdeval.metrics.judges.embedder import Embedder, find_embedder
from cdeval.metrics.judges.scorer import Scorer
from cdeval.metrics.pairing import LIKELIHOOD
from cdeval.models.loading import OpenedModel, open_model

READ_BY_SCORER = frozenset({*MEASURES, *LIKELIHOOD})  # metrics that need a language model
COUNTED_IN_TOKENS = READ_BY_SCORER | {"tokens"}  # metrics that need the texts' token ids


@dataclass(frozen=True, slots=True)
class Judges:
    """The models that score; those that the chosen metrics do not need may be left out."""

    scorer: Scorer | None  # the generations' token ids are its tokens
    embedder: str | Embedder  # for coherence; a name (folder or hub id) is loaded for as long as it is needed
    featurizer: Scorer | None = None  # for MAUVE; None is the scorer itself
    likelihood: Scorer | None = None  # for perplexity and log-likelihood coherence; None is the scorer itself
    wrote: bool | None = True  # whether the scorer generated the arms' texts; None: not known
    cache: FeatureCache = NO_CACHE  # of what the models say about each text

    def required_scorer(self) -> Scorer:
        """The scorer. Raises: ValueError: it was left out."""
        if self.scorer is None:
            raise ValueError("a metric that reads texts with a language model needs judges.scorer")
        return self.scorer


def find_judges(names: Collection[str], config: MetricsConfig) -> dict[str, OpenedModel]:
    """The scorer and the featurizer that the metrics `names` need, by their settings; no weights are read.

    Called before anything is decoded, so that a mistyped name costs seconds.

    Raises: ModelError, HubError, AssetError: one of them, or the embedder, cannot be found.
    """
    if "coherence" in names:
        find_embedder(assets.resolve(config.embedder))
    wanted = {
        "metrics.mauve_features": (config.mauve_features, set(MEASURES)),
        "metrics.scorer": (config.scorer, set(LIKELIHOOD)),
    }
    return {
        setting: open_model(ExpertConfig(name=name), setting, decodes=False)
        for setting, (name, metrics) in wanted.items()
        if name != "expert" and metrics & set(names)
    }


def open_judges(
    names: Collection[str], config: MetricsConfig, scorer: Scorer | None, folder: Path, *, wrote: bool | None
) -> Judges:
    """What the metrics `names` need beside the scorer.

    Args:
        names: of the chosen metrics.
        config: the models' names, and whether their answers are kept.
        scorer: the model whose tokens the texts are in, where a metric needs it.
        folder: of the study; answers are kept in its `.features`.
        wrote: whether the scorer generated the texts; None: not known.

    Raises: ModelError, HubError, AssetError: a model cannot be found or read.
    """
    found = find_judges(names, config)

    def other(setting: str) -> Scorer | None:
        return found[setting].load_reader() if setting in found else None

    return Judges(
        scorer=scorer,
        embedder=assets.resolve(config.embedder) if "coherence" in names else config.embedder,
        featurizer=other("metrics.mauve_features"),
        likelihood=other("metrics.scorer"),
        wrote=wrote,
        cache=FeatureCache(folder / ".features" if config.cache else None),
    )
