"""MAUVE: how close the distribution of generated texts is to that of human texts.

Texts become features (the last hidden state of a language model), features become clusters (`codebook`), and MAUVE is
the area under the curve of exp(−c·KL) between the two cluster histograms and their mixtures (`frontier`): in (0, 1],
higher is closer. Pillutla et al. (2021), "MAUVE: Measuring the Gap Between Neural Text and Human Text".

What to know before reading a value:

- It depends on the featurizer, the number of texts, the clusters (round(n / 10), at least 2, as published), the length
  of the texts and whose texts were clustered together: only values that agree in all five compare. The note of every
  score names them.
- It needs thousands of texts. With few, both samples fill few clusters: biased, and noise of 0.05 to 0.1 at n = 100.
- k-means adds noise of its own: hence the mean over several of its seeds.

As an `evaluate.Metric`, a prediction and the reference in the same place continue one prompt and are cut to one length;
without two such pairs, or where all of them are equal, the values are NaN.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from cdeval.config.enums import Codebook, Dtype
from cdeval.config.metrics import Need
from cdeval.config.schema import ExpertConfig, MetricsConfig, ProtocolConfig
from cdeval.errors import ModelError
from cdeval.metrics import frontier
from cdeval.metrics.codebook import (
    Codes,
    compare_mauve,
    frontier_integral,
    mauve,
    mauve_interval,
    mauve_star,
    unavailable,
)
from cdeval.metrics.compare import Settings
from cdeval.metrics.evaluating import as_generations, choice_of, offer
from cdeval.metrics.forms import fraction
from cdeval.metrics.means import Arms, Basis, Means, Measured
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Curve, Metric, Place
from cdeval.metrics.scorefile import ArmScores, digest_of, exact_digest
from cdeval.metrics.stats import Statistic
from cdeval.records import Comparison, Estimate, Generation, document_of

if TYPE_CHECKING:  # torch takes seconds, and a report, which reads what metrics are called, needs none of it
    from cdeval.metrics.judges.clusters import ClusteredArm

_CURVE = Curve(
    title="MAUVE's divergence curves",
    x="holds the generated texts",
    y="holds the human texts",
    note="How far generated and human texts are apart under every mixture of the two, mean over codebooks; MAUVE is "
    "the area below. Low on the right: what is written is not what people write; low on the left: what people write is "
    "missing.",
)


# Counts of the human and of the generated texts [..., 2, cluster] to numbers, in the order of `codebook.Published`.
MEASURES: dict[str, Statistic] = {
    "mauve": mauve,
    "mauve_star": mauve_star,
    "frontier_integral": frontier_integral,
}


class ClusterMetric(Metric):
    """A measure of how many human and generated texts are in each cluster."""

    keeps_clusters = True

    def basis(self, means: Means) -> Basis:
        """The model of the features, and the clustering."""
        config = means.config
        clustering = f"{config.mauve_codebook.name}, {config.mauve_seeds} seeds"
        return {**super().basis(means), "clustering": clustering}

    def basis_together(self, digests: Mapping[str, str], means: Means) -> Mapping[str, Basis]:
        """The texts that an arm's are clustered with."""
        book = means.config.mauve_codebook
        human = means.once((exact_digest, "human"), lambda: exact_digest(means.human or []))
        known = "" if means.human and unavailable(book) else human
        every = digest_of(sorted(digests.items()))
        return {
            label: {"human texts": known, "codebook": digest if book is Codebook.pairwise else every}
            for label, digest in digests.items()
        }

    def score(self, arms: Arms, means: Means) -> Mapping[str, Measured]:
        """Cluster the texts, once for all of these metrics, and count."""
        clustered = means.once((ClusterMetric, *arms), lambda: _clustered(arms, means))
        return {label: self._of_clusters(found, means.settings) for label, found in clustered.items()}

    def _of_clusters(self, found: "ClusteredArm", settings: Settings) -> Measured:
        n, value = found.scored, _value(self.name, found)
        if found.codes is None:
            return Measured(Estimate(value, math.nan, math.nan, n, found.texts - n, found.note))
        ends = mauve_interval(value, found.codes, MEASURES[self.name], settings)
        estimate = Estimate(value, ends.low, ends.high, n, found.texts - n, found.note)
        return Measured(estimate, codes=found.codes, curve=_curve(found.codes))

    def evidence(self, kept: ArmScores, protocol: ProtocolConfig) -> Codes | None:
        """The clusters of an arm's texts."""
        return kept.codes if self.name in kept.scores else None

    def in_draws(
        self, kept: ArmScores, protocol: ProtocolConfig, prompts: Sequence[str], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Count the drawn texts of both sides in the clusters that there are."""
        codes = self.evidence(kept, protocol)
        if codes is None:
            return np.full(len(weights), math.nan)
        place = {prompt: at for at, prompt in enumerate(prompts)}
        counts = codes.by_unit(np.array([place.get(document_of(prompt), -1) for prompt in codes.ids]))
        drawn = codes.shaped(weights[:, : counts.shape[0]] @ counts)
        return np.asarray(MEASURES[self.name](drawn).mean(axis=-1))

    def compare(
        self, evidence: Mapping[str, Codes], against: str, settings: Settings, protocol: ProtocolConfig
    ) -> list[Comparison]:
        """Resample prompts and codebooks."""
        return compare_mauve(evidence, MEASURES[self.name], self.name, against, settings)


_SHARED: dict[str, Any] = {
    "form": fraction(3),
    "bounds": (0, 1),
    "order": 20,
    "needs": ["references", "featurizer"],
    "together": "clusters",
}
_WORDS = {"label": "MAUVE", "more": "closer to human text", "less": "further from human text", "curve": _CURVE}
metric("mauve", better="higher", **_WORDS, **_SHARED)(ClusterMetric)
metric("mauve_star", label="MAUVE*", better="higher", place=Place.file, **_SHARED)(ClusterMetric)
metric("frontier_integral", better="lower", place=Place.file, **_SHARED)(ClusterMetric)


def _clustered(arms: Arms, means: Means) -> dict[str, "ClusteredArm"]:
    """MAUVE compares one text a prompt with one: a human text that stands there twice is no second text."""
    from cdeval.metrics.judges.clusters import cluster_arms  # noqa: PLC0415 - torch, as above

    first: dict[str, dict[str, Generation]] = {label: {} for label in arms}
    for label, texts in arms.items():
        for text in texts:
            first[label].setdefault(text.id, text)
    chosen = {label: list(texts.values()) for label, texts in first.items()}
    reader = means.judges.reader(Need.featurizer)
    return cluster_arms(chosen, means.human, reader, means.config, means.seed, means.judges.cache)


def _value(name: str, found: "ClusteredArm") -> float:
    """A measure of an arm, which mauve-text said where it was asked; NaN where there is none."""
    if found.codes is None:
        return math.nan
    by_name = dict(zip(MEASURES, found.published, strict=bool(found.published)))
    return by_name[name] if by_name else float(MEASURES[name](found.codes.whole()).mean())


def _curve(codes: Codes) -> list[tuple[float, float]]:
    """The divergence curve from (1, 0) to (0, 1), mean over the k-means seeds."""
    shares = frontier.normalised(codes.whole())
    mean: Float[np.ndarray, "point 2"] = frontier.divergence_curve(shares[:, 0], shares[:, 1]).mean(axis=0)
    return [(float(x), float(y)) for x, y in mean]


def _compute(  # noqa: PLR0913 - options by name
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    model: str = "embedded:smollm2",
    kmeans_seeds: int = 5,
    seed: int = 0,
    codebook: str = "shared",
    dtype: str = "auto",
    device: str = "auto",
) -> dict[str, float]:
    # torch takes seconds, and a report, which reads in this file what the metric is called, needs none of it.
    from cdeval.metrics.judges.clusters import cluster_arms  # noqa: PLC0415
    from cdeval.metrics.judges.scorer import TextReader  # noqa: PLC0415
    from cdeval.models.loading import open_model  # noqa: PLC0415

    book = choice_of(Codebook, "codebook", codebook)
    if obstacle := unavailable(book):
        raise ModelError(obstacle)
    featurizer = open_model(ExpertConfig(name=model, dtype=choice_of(Dtype, "dtype", dtype), device=device)).load()
    config = MetricsConfig(mauve_seeds=kmeans_seeds, mauve_codebook=book)
    generated, human = (as_generations(texts) for texts in (predictions, references))
    reader = TextReader(featurizer, retokenise=True)
    found = cluster_arms({"predictions": generated}, human, reader, config, seed)["predictions"]
    return {**{name: _value(name, found) for name in MEASURES}, "missing": float(found.texts - found.scored)}


Module = offer(__name__, __doc__, _compute)
