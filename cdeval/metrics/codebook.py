"""Clusters of features, and MAUVE of the histograms they make, with its resamples.

The quantisation is the published one (Pillutla et al. 2021, section 3, and mauve-text 0.4): rows scaled to length one,
the principal components that hold 90 % of the variance, k-means by faiss, the best of 5 starts, at most 500 steps.

Intervals. The clusters are made once from all texts; a bootstrap draw takes prompts (a human and a generated text
together) and, among the codebooks of the k-means seeds, codebooks, and only counts again. Drawing texts and clustering
them again would take a text drawn twice for a cluster of its own, and cost a thousand times more. The interval is
value ± z·se, for one arm (clipped to [0, 1]) and for the difference of two, with se the larger of two:

- the standard deviation of the draws. Too large by up to 3 where MAUVE is near 1, too small by 0.85 where it is low;
- the jackknife's, prompts left out in turn, with the variance between codebooks added. Nearly right everywhere, but
  noisy itself near 1: alone it held the true difference 87 times of 100 at n = 50.

In simulated studies of 50, 100 and 300 prompts (MAUVE 0.1 to 0.98, 5 codebooks) this held the expected difference in 92
to 97 of 100 where the lower arm scores below 0.85, and in up to all where both score above: cautious there, not exact.
One arm's interval held 86 to 100. Percentile, basic and BCa intervals of the same draws fell to 88, 79 and 85, because
drawing adds a divergence of its own to every value; texts without codebooks as units fell to 87.
`tests/metrics/test_coverage.py` repeats it.

Near 1 the width errs on the safe side because the draws do: MAUVE cannot exceed 1, but a draw holds texts twice, which
moves its histograms apart and its value into the range where values scatter. Draws in which partners change sides at
random, so that both sides have one distribution by construction, still scattered twice as much as new studies did
(n = 50, MAUVE .97 and .94: 0.088 against 0.046), so no calibration of the draws mends it; the jackknife, which draws
nothing, is too short elsewhere.

The bias of small n is in none: the intervals are about the MAUVE that studies of n texts have on average. With n / 10
clusters two samples of one distribution score 0.97 to 0.99; samples far apart score higher the fewer they are.
"""

import contextlib
import functools
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.special import ndtr, ndtri

from cdeval.assets.extras import how_to_install
from cdeval.config.enums import Codebook
from cdeval.metrics import frontier
from cdeval.metrics.compare import Settings, detectable, no_comparison, resample_counts, with_holm
from cdeval.metrics.stats import FEWEST, IN_GROUPS, MANY, NO_INTERVAL, Interval, Statistic, units_of
from cdeval.records import Comparison, Estimate, document_of

VARIANCE = 0.9  # kept by the principal components
STARTS = 5  # of k-means, the best of which counts
STEPS = 500  # of k-means
_METHOD = "paired by prompt, counts in the same clusters resampled"
_LARGEST = 1_000_000  # counts at once: 8 MB of float64

TRUSTED = 1000  # texts a side; the authors ask for a few thousand


def mauve(counts: Float[np.ndarray, "... 2 cluster"]) -> Float[np.ndarray, "..."]:
    """MAUVE of the human and the generated texts' counts."""
    return frontier.mauve(frontier.normalised(counts[..., 0, :]), frontier.normalised(counts[..., 1, :]))


def mauve_star(counts: Float[np.ndarray, "... 2 cluster"]) -> Float[np.ndarray, "..."]:
    """MAUVE of the counts with one half added to each."""
    return frontier.mauve(frontier.smoothed(counts[..., 0, :]), frontier.smoothed(counts[..., 1, :]))


def frontier_integral(counts: Float[np.ndarray, "... 2 cluster"]) -> Float[np.ndarray, "..."]:
    """The frontier integral of the two sides' counts."""
    return frontier.frontier_integral(frontier.normalised(counts[..., 0, :]), frontier.normalised(counts[..., 1, :]))


class Published(NamedTuple):
    """The numbers that mauve-text gives for one arm."""

    mauve: float
    mauve_star: float
    frontier_integral: float


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """The clusters of an arm's texts and of their human partners, a column a codebook; equal to itself only."""

    ids: tuple[str, ...]  # of the prompts; a prompt with several samples has several rows
    human: Int[np.ndarray, "text codebook"]
    generated: Int[np.ndarray, "text codebook"]
    clusters: int

    def counts(self, weights: Float[np.ndarray, "draw text"]) -> Float[np.ndarray, "draw codebook 2 cluster"]:
        """Count the texts in each cluster, when each counts as often as its weight says."""
        return self.shaped(weights @ self.by_unit(np.arange(len(self.ids))))

    def whole(self) -> Float[np.ndarray, "codebook 2 cluster"]:
        """The counts of all texts."""
        return np.asarray(self.counts(np.ones((1, len(self.ids))))[0])

    def by_unit(self, units: Int[np.ndarray, " text"]) -> csr_array:
        """The counts of each unit's texts [unit, codebook · side · cluster]; texts of the unit -1 are left out.

        It is sparse: there are a tenth as many clusters as texts, and all counts would be as many as the square of the
        texts.
        """
        kept = units >= 0
        sides = np.stack([self.human[kept], self.generated[kept]], axis=2)
        width = 2 * self.human.shape[1]
        columns = sides.reshape(-1, width) + self.clusters * np.arange(width)
        places = (np.repeat(units[kept], width), columns.ravel())
        return csr_array((np.ones(columns.size), places), shape=(units.max() + 1, width * self.clusters))

    def shaped(self, counts: Float[np.ndarray, "draw column"]) -> Float[np.ndarray, "draw codebook 2 cluster"]:
        """Sums over rows of `by_unit` as counts."""
        return np.ascontiguousarray(counts).reshape(len(counts), self.human.shape[1], 2, self.clusters)


def unavailable(codebook: Codebook) -> str:
    """Why MAUVE cannot be computed on this machine; empty where it can."""
    needed = ("faiss", "sklearn") if codebook is Codebook.shared else ("faiss", "sklearn", "mauve")
    try:
        for name in needed:
            import_module(name)  # seconds for mauve
    except ImportError as error:
        return f"MAUVE needs mauve-text and what it brings ({error}): {how_to_install('mauve')}"
    return ""


def bucket_count(texts: int) -> int:
    """The published number of clusters for `texts` texts a side."""
    return max(2, round(texts / 10))


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
        pca = PCA().fit(unit)  # of all components, hence exact: the seed that mauve-text gives it changes nothing
        kept = 1 + int(np.argmax(np.cumsum(pca.explained_variance_ratio_) >= VARIANCE))
        points = np.ascontiguousarray(pca.transform(unit)[:, :kept], dtype=np.float32)
        for seed in seeds:
            kmeans = faiss.Kmeans(kept, clusters, niter=STEPS, nredo=STARTS, update_index=True, seed=seed + 2)
            kmeans.train(points)
            columns.append(kmeans.index.search(points, 1)[1][:, 0])
    return np.stack(columns, axis=1)


def published_scores(
    human: Float[np.ndarray, "text width"],
    generated: Float[np.ndarray, "text width"],
    clusters: int,
    seeds: Sequence[int],
) -> list[Published]:
    """MAUVE by mauve-text itself, once a k-means seed.

    Raises: ImportError: mauve-text is not installed; ask `unavailable` first.
    """
    import mauve  # noqa: PLC0415  GPL-3, seconds to import

    found = []
    with silence():
        for seed in seeds:
            result = mauve.compute_mauve(
                p_features=human,
                q_features=generated,
                num_buckets=clusters,
                mauve_scaling_factor=frontier.SCALING,
                seed=seed,
            )
            # The curve of equal histograms is one point, whose area mauve-text integrates to anything from 0.5 to 1.
            equal = np.array_equal(result.p_hist, result.q_hist)
            values = (1.0, 1.0) if equal else (float(result.mauve), float(result.mauve_star))
            found.append(Published(*values, float(result.frontier_integral)))
    return found


def mauve_interval(value: float, codes: Codes, measure: Statistic, settings: Settings) -> Interval:
    """Value ± z·se, clipped to [0, 1]; `NO_INTERVAL` for fewer than `FEWEST` prompts."""
    prompts = tuple(dict.fromkeys(codes.ids))
    if len(set(map(document_of, prompts))) < FEWEST:
        return NO_INTERVAL
    reach = _z(settings) * _resampled(codes, prompts, measure, settings).standard_error()
    return Interval(max(0.0, value - reach), min(1.0, value + reach))


def compare_mauve(
    codes: Mapping[str, Codes], measure: Statistic, metric: str, against: str, settings: Settings
) -> list[Comparison]:
    """A measure of counts of every other arm against one of them, on the prompts that both have.

    Normal intervals and p-values from one standard error (see above); Holm-corrected among themselves.

    Raises: ValueError: `against` is no arm.
    """
    if against not in codes:
        raise ValueError(f"{against!r} is not among the arms {sorted(codes)}")
    return with_holm(
        [
            _compare(of_arm, codes[against], measure, (metric, label, against), settings)
            for label, of_arm in codes.items()
            if label != against
        ]
    )


def _compare(
    arm: Codes, against: Codes, measure: Statistic, names: tuple[str, str, str], settings: Settings
) -> Comparison:
    theirs = set(against.ids)
    prompts = tuple(prompt for prompt in dict.fromkeys(arm.ids) if prompt in theirs)
    missing = len(set(arm.ids) | theirs) - len(prompts)
    documents = len(set(map(document_of, prompts)))
    if documents < FEWEST:
        reason = f"fewer than {FEWEST} prompts have a value in both arms"
        return no_comparison(names, len(prompts), missing, reason)
    ours, others = (_resampled(side, prompts, measure, settings) for side in (arm, against))
    difference = _Resampled(*(mine - other for mine, other in zip(ours, others, strict=True)))
    value, error = float(difference.by_codebook.mean()), difference.standard_error()
    reach = _z(settings) * error
    method = _METHOD if documents <= MANY else f"{_METHOD}; {IN_GROUPS}"
    return Comparison(
        *names,
        Estimate(value, value - reach, value + reach, len(prompts), missing, method),
        p=float(2 * ndtr(-abs(value) / error)) if error > 0 else 1.0,
        p_holm=math.nan,
        detectable=detectable(error, settings.confidence),
    )


class _Resampled(NamedTuple):
    """A measure of one arm, or its difference between two, when prompts and codebooks change."""

    by_codebook: Float[np.ndarray, " codebook"]  # of all prompts
    draws: Float[np.ndarray, " draw"]
    left_out: Float[np.ndarray, " prompt"]  # one prompt less, mean over codebooks

    def standard_error(self) -> float:
        """The larger of the bootstrap's and the jackknife's."""
        n, books = len(self.left_out), len(self.by_codebook)
        jackknife = (n - 1) * float(self.left_out.var())
        between = float(self.by_codebook.var(ddof=1)) / books if books > 1 else 0.0
        return math.sqrt(max(float(self.draws.var(ddof=1)), jackknife + between))


@functools.lru_cache(maxsize=256)  # an arm's own interval and all its comparisons read the same draws
def _resampled(codes: Codes, prompts: tuple[str, ...], measure: Statistic, settings: Settings) -> _Resampled:
    """The measure on these prompts; arms with the same prompts and seed share the draws."""
    documents, kept = tuple(dict.fromkeys(map(document_of, prompts))), set(prompts)
    unit = dict(zip(documents, units_of(len(documents)).tolist(), strict=True))
    by_unit = codes.by_unit(np.array([unit[document_of(one)] if one in kept else -1 for one in codes.ids]))
    units, books = by_unit.shape[0], codes.human.shape[1]
    whole = by_unit.sum(axis=0)

    def values(counts: Float[np.ndarray, "draw column"]) -> Float[np.ndarray, "draw codebook"]:
        return measure(codes.shaped(counts))

    weights = resample_counts(units, settings.draws, settings.seed)
    shares = resample_counts(books, settings.draws, settings.seed + 1) / books
    size = max(1, _LARGEST // by_unit.shape[1])
    draws = [values(weights[at : at + size] @ by_unit) for at in range(0, settings.draws, size)]
    left_out = [values(whole - by_unit[at : at + size].toarray()) for at in range(0, units, size)]
    return _Resampled(
        values(whole[None])[0], (np.concatenate(draws) * shares).sum(axis=1), np.concatenate(left_out).mean(axis=1)
    )


def _z(settings: Settings) -> float:
    return float(ndtri((1 + settings.confidence) / 2))


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
