"""Clusters of features, and MAUVE of the histograms they make, with its resamples.

The quantisation is the published one (Pillutla et al. 2021, section 3, and mauve-text 0.4): rows scaled to length one,
the principal components that hold 90 % of the variance, k-means by faiss, the best of 5 starts, at most 500 steps.

Intervals. The clusters are made once from all texts; a bootstrap draw takes prompts (a human and a generated text
together) and, among the codebooks of the k-means seeds, codebooks, and only counts again. Drawing texts and clustering
them again would take a text drawn twice for a cluster of its own, and cost a thousand times more. Why this and not
another: 400 simulated studies each (prompts as topics, 5 codebooks; tests/metrics/test_coverage.py repeats some).

- Differences of two arms: percentile interval of the paired draws. It held the expected difference of studies of that
  size in 94 to 99 of 100; more than 97 only where both arms score above 0.9, or with 100 texts or fewer. Fixed seeds
  alone held it in 91: which codebook it is matters as much as which texts. The basic, BCa and jackknife intervals,
  centred on a statistic with a bias, fell to 80.
- One arm: value ± z·sd of the draws, clipped to [0, 1]. Draws sit lower than the value (drawing adds a divergence of
  its own), so their percentiles would miss it. Near 1 the sd is up to 2.5 times too large: cautious, not exact.

The bias of small n is in neither: the intervals are about the MAUVE that studies of n texts have on average. With
n / 10 clusters two samples of one distribution score 0.97 to 0.99; samples far apart score higher the fewer they are.
"""

import contextlib
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import norm

from cdeval.metrics import frontier
from cdeval.metrics.compare import Settings, detectable, no_comparison, resample_counts, with_holm
from cdeval.metrics.stats import NO_INTERVAL, Interval, Statistic
from cdeval.records import Comparison, Estimate

VARIANCE = 0.9  # kept by the principal components
STARTS = 5  # of k-means, the best of which counts
STEPS = 500  # of k-means
FEWEST_FOR_INTERVAL = 20  # texts a side
_METHOD = "paired by prompt, percentile bootstrap of the clusters' counts"


def _mauve(counts: Float[np.ndarray, "... 2 cluster"]) -> Float[np.ndarray, "..."]:
    return frontier.mauve(frontier.normalised(counts[..., 0, :]), frontier.normalised(counts[..., 1, :]))


def _mauve_star(counts: Float[np.ndarray, "... 2 cluster"]) -> Float[np.ndarray, "..."]:
    return frontier.mauve(frontier.smoothed(counts[..., 0, :]), frontier.smoothed(counts[..., 1, :]))


def _frontier_integral(counts: Float[np.ndarray, "... 2 cluster"]) -> Float[np.ndarray, "..."]:
    return frontier.frontier_integral(frontier.normalised(counts[..., 0, :]), frontier.normalised(counts[..., 1, :]))


# Metric -> counts of the human and of the generated texts [..., 2, cluster] to numbers.
MEASURES: dict[str, Statistic] = {
    "mauve": _mauve,
    "mauve_star": _mauve_star,
    "frontier_integral": _frontier_integral,
}


@dataclass(frozen=True, slots=True)
class Codes:
    """Which cluster each text of an arm fell into, and its human partner, a column a codebook."""

    ids: tuple[str, ...]  # of the prompts; a prompt with several samples has several rows
    human: Int[np.ndarray, "text codebook"]
    generated: Int[np.ndarray, "text codebook"]
    clusters: int

    def counts(self, weights: Float[np.ndarray, "draw text"]) -> Float[np.ndarray, "draw codebook 2 cluster"]:
        """How many texts are in each cluster, when each counts as often as its weight says."""
        eye = np.eye(self.clusters)
        return np.stack(
            [
                np.stack([weights @ eye[self.human[:, at]], weights @ eye[self.generated[:, at]]], axis=1)
                for at in range(self.human.shape[1])
            ],
            axis=1,
        )

    def whole(self) -> Float[np.ndarray, "codebook 2 cluster"]:
        """The counts of all texts."""
        return np.asarray(self.counts(np.ones((1, len(self.ids))))[0])


def quantise(
    features: Float[np.ndarray, "text width"], clusters: int, seeds: Sequence[int]
) -> Int[np.ndarray, "text codebook"]:
    """The cluster of each text, one column a k-means seed.

    With the generated texts first and the human ones after them, a column is the clustering of mauve-text at that seed.

    Raises: ImportError: faiss or scikit-learn is not installed.
    """
    import faiss  # noqa: PLC0415  an optional part, a second to import
    from sklearn.decomposition import PCA  # noqa: PLC0415
    from sklearn.preprocessing import normalize  # noqa: PLC0415

    unit = normalize(features, norm="l2", axis=1)
    columns = []
    with silence():
        for seed in seeds:
            pca = PCA(random_state=seed + 1).fit(unit)
            kept = 1 + int(np.argmax(np.cumsum(pca.explained_variance_ratio_) >= VARIANCE))
            points = np.ascontiguousarray(pca.transform(unit)[:, :kept], dtype=np.float32)
            kmeans = faiss.Kmeans(kept, clusters, niter=STEPS, nredo=STARTS, update_index=True, seed=seed + 2)
            kmeans.train(points)
            columns.append(kmeans.index.search(points, 1)[1][:, 0])
    return np.stack(columns, axis=1)


def mauve_interval(value: float, codes: Codes, measure: str, settings: Settings) -> Interval:
    """Value ± z·sd of the draws, clipped to [0, 1]; `NO_INTERVAL` for fewer than `FEWEST_FOR_INTERVAL` prompts."""
    prompts = list(dict.fromkeys(codes.ids))
    if len(prompts) < FEWEST_FOR_INTERVAL:
        return NO_INTERVAL
    sd = float(_draws(codes, prompts, measure, settings).std(ddof=1))
    reach = float(norm.ppf((1 + settings.confidence) / 2)) * sd
    return Interval(max(0.0, value - reach), min(1.0, value + reach))


def compare_mauve(codes: Mapping[str, Codes], measure: str, against: str, settings: Settings) -> list[Comparison]:
    """MAUVE, or another of `MEASURES`, of every other arm against one of them, on the prompts that both have.

    Percentile interval of the paired draws and its inversion as p-value, Holm-corrected among themselves; the
    detectable difference is that of the draws' standard deviation.

    Raises: ValueError: `against` is no arm.
    """
    if against not in codes:
        raise ValueError(f"{against!r} is not among the arms {sorted(codes)}")
    return with_holm(
        [
            _compare(of_arm, codes[against], (measure, label, against), settings)
            for label, of_arm in codes.items()
            if label != against
        ]
    )


def _compare(arm: Codes, against: Codes, names: tuple[str, str, str], settings: Settings) -> Comparison:
    theirs = set(against.ids)
    prompts = [prompt for prompt in dict.fromkeys(arm.ids) if prompt in theirs]
    missing = len(set(arm.ids) | theirs) - len(prompts)
    if len(prompts) < FEWEST_FOR_INTERVAL:
        reason = f"fewer than {FEWEST_FOR_INTERVAL} prompts have a value in both arms"
        return no_comparison(names, len(prompts), missing, reason)
    measure = names[0]
    value = _value(arm, prompts, measure) - _value(against, prompts, measure)
    draws = _draws(arm, prompts, measure, settings) - _draws(against, prompts, measure, settings)
    low, high = np.quantile(draws, [(1 - settings.confidence) / 2, (1 + settings.confidence) / 2])
    tail = 1 + min((draws <= 0).sum(), (draws >= 0).sum())
    return Comparison(
        *names,
        Estimate(value, float(low), float(high), len(prompts), missing, _METHOD),
        p=min(1.0, float(2 * tail / (settings.draws + 1))),
        p_holm=math.nan,
        detectable=detectable(float(draws.std(ddof=1)), settings.confidence),
    )


def _value(codes: Codes, prompts: Sequence[str], measure: str) -> float:
    """The mean over codebooks, on these prompts only."""
    once = _by_text(np.ones((1, len(prompts))), codes, prompts)
    return float(MEASURES[measure](codes.counts(once)).mean())


def _draws(codes: Codes, prompts: Sequence[str], measure: str, settings: Settings) -> Float[np.ndarray, " draw"]:
    """The measure in each draw of prompts and codebooks; arms with the same prompts and seed share the draws."""
    weights = resample_counts(len(prompts), settings.draws, settings.seed)
    books = codes.human.shape[1]
    shares = resample_counts(books, settings.draws, settings.seed + 1) / books
    values = MEASURES[measure](codes.counts(_by_text(weights, codes, prompts)))
    return np.asarray((values * shares).sum(axis=1))


def _by_text(
    weights: Float[np.ndarray, "draw prompt"], codes: Codes, prompts: Sequence[str]
) -> Float[np.ndarray, "draw text"]:
    """A prompt's weight for each of its texts; 0 for texts of other prompts."""
    column = {prompt: index for index, prompt in enumerate(prompts)}
    padded = np.hstack([weights, np.zeros((len(weights), 1))])
    return padded[:, [column.get(prompt, len(prompts)) for prompt in codes.ids]]


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Drop warnings, and what faiss writes to file descriptor 2 about small samples: the note says it better."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere, warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
