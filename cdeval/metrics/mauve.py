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

`mauve-text` by the authors is GPL-3: it is imported in this file only, when its own protocol is asked for
(`metrics.mauve_codebook=pairwise`), and nothing of it is copied.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32

from cdeval.choices import Codebook, Dtype
from cdeval.config import ExpertConfig, MetricsConfig
from cdeval.errors import ModelError
from cdeval.metrics.codebook import MEASURES, silence
from cdeval.metrics.evaluating import as_generations, choice_of, offer
from cdeval.metrics.features import NO_CACHE, FeatureCache, identity, key, require_finite
from cdeval.metrics.frontier import SCALING
from cdeval.metrics.scorer import Reader, Scorer, described, equal_batches
from cdeval.models.loading import open_model

TRUSTED = 1000  # texts a side; the authors ask for a few thousand
_TOKENS_AT_ONCE = 8192


class Published(NamedTuple):
    """What mauve-text says of one arm."""

    mauve: float
    mauve_star: float
    frontier_integral: float


def unavailable(codebook: Codebook) -> str:
    """Why MAUVE cannot be computed on this machine; empty where it can."""
    needed = ("faiss", "sklearn") if codebook is Codebook.shared else ("faiss", "sklearn", "mauve")
    try:
        for name in needed:
            import_module(name)  # seconds for mauve
    except ImportError as error:
        return f"MAUVE needs mauve-text and what it brings ({error}): pip install mauve-text"
    return ""


def bucket_count(texts: int) -> int:
    """The published number of clusters for `texts` texts a side."""
    return max(2, round(texts / 10))


def last_hidden_features(
    scorer: Scorer, texts: Sequence[Sequence[int]], cache: FeatureCache = NO_CACHE, ids: Sequence[str] = ()
) -> Float32[np.ndarray, "text width"]:
    """The model's last hidden state, after its final norm, at the last token of each text.

    The model reads the tokens as they are: no prompt, no BOS, no padding. `ids` name the texts in messages.

    Raises: ValueError: no text, or one without tokens. ModelError: a state that is no finite number.
    """
    if not texts or any(len(tokens) == 0 for tokens in texts):
        raise ValueError("a text without tokens has no features: leave it out and count it")
    model = identity(scorer)
    keys = [key("last hidden state", model, tokens) for tokens in texts]
    rows = cache.rows(keys, lambda missing: _last_hidden(scorer, [texts[index] for index in missing]))
    names = list(ids) or [f"{place}" for place in range(len(texts))]
    require_finite(rows, names, "MAUVE", described(scorer), "a last hidden state")
    return rows.astype(np.float32)


@torch.inference_mode()
def _last_hidden(scorer: Scorer, texts: Sequence[Sequence[int]]) -> Float32[np.ndarray, "text width"]:
    features: list[Float32[np.ndarray, " width"]] = [np.empty(0, dtype=np.float32)] * len(texts)
    for batch in equal_batches([len(tokens) for tokens in texts], lambda length: _TOKENS_AT_ONCE // length):
        ids = torch.tensor([list(texts[index]) for index in batch], device=scorer.model.device)
        hidden = scorer.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        for index, vector in zip(batch, hidden[:, -1].float().cpu().numpy(), strict=True):
            features[index] = vector
    return np.stack(features)


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
                p_features=human, q_features=generated, num_buckets=clusters, mauve_scaling_factor=SCALING, seed=seed
            )
            # The curve of equal histograms is one point, whose area mauve-text integrates to anything from 0.5 to 1.
            equal = np.array_equal(result.p_hist, result.q_hist)
            values = (1.0, 1.0) if equal else (float(result.mauve), float(result.mauve_star))
            found.append(Published(*values, float(result.frontier_integral)))
    return found


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
    from cdeval.metrics.human import mauve_of_arms  # noqa: PLC0415 - it is made of this file

    book = choice_of(Codebook, "codebook", codebook)
    if obstacle := unavailable(book):
        raise ModelError(obstacle)
    featurizer = open_model(ExpertConfig(name=model, dtype=choice_of(Dtype, "dtype", dtype), device=device)).load()
    config = MetricsConfig(mauve_seeds=kmeans_seeds, mauve_codebook=book, bootstrap_draws=2)  # no interval is asked for
    generated, human = (as_generations(texts) for texts in (predictions, references))
    reader = Reader(featurizer, retokenise=True)
    found = mauve_of_arms({"predictions": generated}, human, reader, config, seed).estimates["predictions"]
    return {**{name: found[name].value for name in MEASURES}, "missing": float(found["mauve"].missing)}


Metric = offer(__name__, __doc__, _compute)
