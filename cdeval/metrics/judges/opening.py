"""The models that score, opened only where a metric needs them."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from cdeval.assets import embedded as assets
from cdeval.config.metrics import Need
from cdeval.config.schema import ExpertConfig, MetricsConfig
from cdeval.metrics.features import NO_CACHE, FeatureCache
from cdeval.metrics.judges.embedder import Embedder, embedder_identity, find_embedder, load_embedder
from cdeval.metrics.judges.likelihood import describe, nll_rows
from cdeval.metrics.judges.scorer import Scorer, TextReader, identity
from cdeval.models.hardware import choose_device
from cdeval.models.loading import OpenedModel, open_model
from cdeval.records import Generation
from cdeval.store.progress import say_nothing


@dataclass(frozen=True, slots=True)
class Judges:
    """The models that score; those that the chosen metrics do not need may be left out."""

    scorer: Scorer | None  # the generations' token ids are its tokens
    embedder: str | Embedder  # a name (folder or hub id) is loaded for as long as it is needed
    featurizer: Scorer | None = None  # whose states are clustered; None is the scorer itself
    likelihood: Scorer | None = None  # whose probabilities are read; None is the scorer itself
    wrote: bool | None = True  # whether the scorer generated the arms' texts; None: not known
    cache: FeatureCache = NO_CACHE  # of what the models say about each text
    say: Callable[[str], None] = say_nothing  # takes lines of progress

    def reader(self, need: Need) -> TextReader:
        """The language model that serves a need. Raises: ValueError: it was left out."""
        other = self.featurizer if need is Need.featurizer else self.likelihood
        judge = other or self.scorer
        if judge is None:
            raise ValueError("a metric that reads texts with a language model needs judges.scorer")
        return TextReader(judge, retokenise=other is not None)

    def nll(self, texts: Sequence[Generation]) -> Float[np.ndarray, "text 2"]:
        """Compute the rows of `likelihood.nll_rows` for the texts as the scorer reads them."""
        reader = self.reader(Need.scorer)
        return nll_rows(reader.scorer, reader.read(texts), self.cache)

    def describe_likelihood(self) -> str:
        """Say what another likelihood must share to be comparable."""
        reader = self.reader(Need.scorer)
        same = self.scorer is not None and reader.scorer.fingerprint == self.scorer.fingerprint
        wrote = self.wrote if self.wrote is None else self.wrote and same
        return describe(reader.scorer.name, retokenised=reader.retokenise, wrote_the_texts=wrote)

    def open_embedder(self, config: MetricsConfig) -> Embedder:
        """The embedder, loaded if it is a name. Raises: ModelError, HubError: it cannot be read."""
        if not isinstance(self.embedder, str):
            return self.embedder
        how, tokens = config.embedder_pooling, config.embedder_tokens
        return load_embedder(self.embedder, str(self._device()), pooling=how, tokens=tokens)

    def free_memory(self) -> None:
        """Give the memory of an embedder back that nobody holds any more."""
        if isinstance(self.embedder, str) and self._device().type == "cuda":
            torch.cuda.empty_cache()

    def basis(self, need: Need, config: MetricsConfig) -> dict[str, str]:
        """Tell the model that serves a need from any other; nothing is loaded for it, and empty is not known."""
        if need is Need.embedder:
            return {"embedder": self._embedder_identity(config)}
        if need is Need.scorer:
            judge = self.likelihood or self.scorer
            written = "written by the scorer" if self.likelihood is None else "tokenised again"
            return {"scorer": identity(judge) if judge else "", "texts": f"{written} {self.wrote}"}
        if need is Need.featurizer:
            judge = self.featurizer or self.scorer
            tokens = "the scorer's" if self.featurizer is None else "tokenised again"
            return {"featurizer": identity(judge) if judge else "", "tokens": tokens}
        return {}

    def _embedder_identity(self, config: MetricsConfig) -> str:
        if not isinstance(self.embedder, str):
            return self.embedder.fingerprint
        how, tokens = config.embedder_pooling, config.embedder_tokens
        return embedder_identity(self.embedder, str(self._device()), pooling=how, tokens=tokens)

    def _device(self) -> torch.device:
        return self.scorer.model.device if self.scorer is not None else choose_device("auto")


def find_judges(needs: Collection[Need], config: MetricsConfig) -> dict[Need, OpenedModel]:
    """The scorer and the featurizer that metrics need, where they are others than the expert; no weights are read.

    Called before anything is decoded, so that a mistyped name costs seconds.

    Raises: ModelError, HubError, AssetError: one of them, or the embedder, cannot be found.
    """
    if Need.embedder in needs:
        find_embedder(assets.resolve(config.embedder))
    wanted = {Need.featurizer: config.mauve_features, Need.scorer: config.scorer}
    return {
        need: open_model(ExpertConfig(name=name), need.value, decodes=False)
        for need, name in wanted.items()
        if name != "expert" and need in needs
    }


def open_judges(
    needs: Collection[Need],
    config: MetricsConfig,
    scorer: Scorer | None,
    folder: Path,
    *,
    wrote: bool | None,
    say: Callable[[str], None] = say_nothing,
) -> Judges:
    """Open the models that metrics need beside the scorer.

    Args:
        needs: of the chosen metrics.
        config: the models' names, and whether their answers are kept.
        scorer: the model whose tokens the texts are in, where a metric needs it.
        folder: of the study; answers are kept in its `.features`.
        wrote: whether the scorer generated the texts; None: not known.
        say: takes lines of progress while they read texts.

    Raises: ModelError, HubError, AssetError: a model cannot be found or read.
    """
    others = {need: found.load_reader() for need, found in find_judges(needs, config).items()}
    return Judges(
        scorer=scorer,
        embedder=assets.resolve(config.embedder) if Need.embedder in needs else config.embedder,
        featurizer=others.get(Need.featurizer),
        likelihood=others.get(Need.scorer),
        wrote=wrote,
        cache=FeatureCache(folder / ".features" if config.cache else None, say),
        say=say,
    )
