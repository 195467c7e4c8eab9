"""The means that metrics compute with, and the measurements that they give back."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np
from jaxtyping import Float

from cdeval.config.metrics import Need
from cdeval.config.schema import MetricsConfig, ProtocolConfig
from cdeval.metrics.codebook import Codes
from cdeval.metrics.compare import ArmRows, Settings
from cdeval.metrics.rows import Rows
from cdeval.records import Estimate, Generation

if TYPE_CHECKING:  # torch takes seconds, and a report, which reads what metrics are called, needs none of it
    from cdeval.metrics.judges.embedder import Embedder
    from cdeval.metrics.judges.opening import Judges

T = TypeVar("T")

Arms: TypeAlias = Mapping[str, Sequence[Generation]]  # continuations by label
Basis: TypeAlias = Mapping[str, str]  # what a score depends on, and which; an empty value is one that is not known


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """The means by which scores are made: models, settings, human texts."""

    judges: "Judges"
    config: MetricsConfig
    seed: int = 0  # of resamples, of k-means and of what self-BLEU compares
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    human: Sequence[Generation] | None = None  # the human continuations; None where the prompts have none
    _made: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The settings of the intervals."""
        return Settings(self.config.confidence, self.config.bootstrap_draws, self.seed)

    def once(self, what: Hashable, make: Callable[[], T]) -> T:
        """Make what several metrics need the first time that it is asked for."""
        if what not in self._made:
            self._made[what] = make()
        return cast("T", self._made[what])

    def embedder(self) -> "Embedder":
        """The embedder, which is opened now. Raises: ModelError, HubError: it cannot be read."""
        return self.once(Need.embedder, lambda: self.judges.open_embedder(self.config))

    def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "text width"]:
        """The embedding of each text, from disk where it is known. Raises: as `embedder`."""
        return self.embedder().vectors(texts, self.judges.cache)

    def nll(self, texts: Sequence[Generation]) -> Float[np.ndarray, "text 2"]:
        """Negative log-likelihood [nats] and tokens of each text of an arm; NaN, NaN where it has no tokens.

        Raises: ModelError: as `judges.likelihood.nll_rows`.
        """
        return self.once((Need.scorer, id(texts)), lambda: self.judges.nll(texts))

    def close_embedder(self) -> None:
        """Give its memory back."""
        if self._made.pop(Need.embedder, None) is not None:
            self.judges.free_memory()


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric's measurement of one arm, as it is kept."""

    estimate: Estimate
    rows: ArmRows | None = None  # what comparisons are made of; None: the metric does not score text by text
    codes: Codes | None = None  # the same, of a metric that counts clusters
    curve: Sequence[tuple[float, float]] = ()  # points that pictures draw
    failed: bool = False  # a plug-in broke: the estimate says why, and the next command tries again


Found: TypeAlias = Rows | Estimate | Measured  # what a metric may return of an arm


def measured(found: Found, settings: Settings) -> Measured:
    """Bring what a metric returned into the form that is kept."""
    if isinstance(found, Rows):
        return Measured(found.estimate(settings), found.of_arm())
    return found if isinstance(found, Measured) else Measured(found)
