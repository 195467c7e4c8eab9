"""MAUVE: how close the distribution of generated texts is to that of human texts.

Texts become features (the last hidden state of a language model), features become clusters, and MAUVE is the area under
the curve of exp(−c·KL) between the two cluster histograms and their mixtures (c = 5): in (0, 1], higher is closer.
Pillutla et al. (2021), "MAUVE: Measuring the Gap Between Neural Text and Human Text"; computed by `mauve-text`, which
is GPL-3 and therefore imported here only, when called.

What to know before reading a value:

- It depends on the featurizer, the number of texts, the clusters (round(n / 10), at least 2, as published) and the
  length of the texts: only values that agree in all four compare. The note of every score names them.
- It needs thousands of texts. With few, both samples fill few clusters: biased, and noise of 0.05 to 0.1 at n = 100.
- k-means adds noise of its own: hence the mean over several of its seeds.
"""

import contextlib
import math
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy.stats import norm

from cdeval.metrics.scorer import Scorer, equal_batches
from cdeval.metrics.stats import NO_INTERVAL, Interval

SCALING = 5  # the constant c of the paper
TRUSTED = 1000  # texts a side; the authors ask for a few thousand
HALVES = 20  # half-samples behind an interval
FEWEST_FOR_INTERVAL = 20  # texts a side: a half-sample then has ten
_TOKENS_AT_ONCE = 8192


class MauveScore(NamedTuple):
    """MAUVE and how sure it is."""

    value: float  # mean over the k-means seeds
    seed_sd: float  # standard deviation over the k-means seeds; NaN for one seed
    interval: Interval  # over texts
    buckets: int  # clusters


def unavailable() -> str:
    """Why MAUVE cannot be computed on this machine; empty where it can."""
    try:
        import mauve  # noqa: F401, PLC0415  GPL-3, seconds to import
    except ImportError as error:
        return f"mauve-text cannot be imported ({error}): pip install mauve-text"
    return ""


def bucket_count(texts: int) -> int:
    """The published number of clusters for `texts` texts a side."""
    return max(2, round(texts / 10))


@torch.inference_mode()
def last_hidden_features(scorer: Scorer, texts: Sequence[Sequence[int]]) -> Float32[np.ndarray, "text width"]:
    """The model's last hidden state, after its final norm, at the last token of each text.

    The model reads the tokens as they are: no prompt, no BOS, no padding.

    Raises: ValueError: a text without tokens.
    """
    if any(len(tokens) == 0 for tokens in texts):
        raise ValueError("a text without tokens has no features: leave it out and count it")
    features: list[Float32[np.ndarray, " width"]] = [np.empty(0, dtype=np.float32)] * len(texts)
    for batch in equal_batches([len(tokens) for tokens in texts], lambda length: _TOKENS_AT_ONCE // length):
        ids = torch.tensor([list(texts[index]) for index in batch], device=scorer.model.device)
        hidden = scorer.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        for index, vector in zip(batch, hidden[:, -1].float().cpu().numpy(), strict=True):
            features[index] = vector
    return np.stack(features)


def mauve_score(
    human: Float[np.ndarray, "text width"],
    generated: Float[np.ndarray, "text width"],
    seeds: Sequence[int],
    confidence: float,
) -> MauveScore:
    """MAUVE of paired samples: row i of both sides continues the same prompt.

    The interval is normal, mean ± z·sd, clipped to [0, 1], with sd over `HALVES` random half-samples of the pairs
    (drawn without replacement, clusters as for the whole): a half-sample's statistic spreads as much around the whole
    sample's as that does around its expectation (Shao & Tu 1995, "The Jackknife and Bootstrap"). A bootstrap would draw
    texts twice, which MAUVE takes for a difference. In simulations it covers the expected MAUVE of n texts about as
    often as it says, and more often where MAUVE is close to 1. The bias of small n is not in it.

    Args:
        human: features of the human texts.
        generated: features of the generated texts, as many, at least two.
        seeds: of k-means; their mean is the value. The first also draws the half-samples.
        confidence: coverage of the interval, in (0, 1).

    Raises:
        ValueError: unequal or too few texts, or no seed.
        ImportError: mauve-text is not installed; ask `unavailable` first.
    """
    texts = len(human)
    if human.shape != generated.shape or texts < 2 or not seeds:
        raise ValueError(f"MAUVE needs two equal samples of two texts or more: got {human.shape} and {generated.shape}")
    buckets = bucket_count(texts)
    with _silence():
        values = np.array([_mauve(human, generated, buckets, seed) for seed in seeds])
        if texts < FEWEST_FOR_INTERVAL:
            interval = NO_INTERVAL
        else:
            spread = float(norm.ppf((1 + confidence) / 2)) * _half_sample_sd(human, generated, buckets, seeds[0])
            interval = Interval(max(0.0, float(values.mean()) - spread), min(1.0, float(values.mean()) + spread))
    seed_sd = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return MauveScore(float(values.mean()), seed_sd, interval, buckets)


def _half_sample_sd(
    human: Float[np.ndarray, "text width"], generated: Float[np.ndarray, "text width"], buckets: int, seed: int
) -> float:
    """The standard deviation of MAUVE over random halves of the pairs."""
    rng = np.random.default_rng(seed)
    halves = [rng.choice(len(human), size=len(human) // 2, replace=False) for _ in range(HALVES)]
    return float(np.std([_mauve(human[half], generated[half], buckets, seed) for half in halves], ddof=1))


def _mauve(
    human: Float[np.ndarray, "text width"], generated: Float[np.ndarray, "text width"], buckets: int, seed: int
) -> float:
    """One clustering, one value."""
    import mauve  # noqa: PLC0415  GPL-3, seconds to import

    result = mauve.compute_mauve(
        p_features=human, q_features=generated, num_buckets=buckets, mauve_scaling_factor=SCALING, seed=seed
    )
    # The curve of equal histograms is one point, whose area mauve-text integrates to anything from 0.5 to 1.
    return 1.0 if np.array_equal(result.p_hist, result.q_hist) else float(result.mauve)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
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
