"""What MAUVE is made of: a model's features of texts, the number of clusters, and the authors' own package.

`mauve-text` by the authors is GPL-3: it is imported in this file only, when its own protocol is asked for
(`metrics.mauve_codebook=pairwise`), and nothing of it is copied.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32

from cdeval.config.enums import Codebook
from cdeval.metrics.codebook import silence
from cdeval.metrics.features import NO_CACHE, FeatureCache, identity, key, require_finite
from cdeval.metrics.frontier import SCALING
from cdeval.metrics.scorer import Scorer, described, equal_batches

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
