"""Coherence: does the continuation stay with what the prompt is about? Two answers, which rank methods differently.

    coherence        = mean over texts of cos( e(prompt), e(continuation) )           in [−1, 1], higher is closer
    coherence_loglik = mean over texts of 1/|x| · Σ_t log p(x_t | prompt, x_<t)       [nats], <= 0, higher is likelier

with e a sentence embedding (`judges.embedder`) and p a language model. Repeating the prompt scores high in both:
read them next to diversity. A text whose prompt or continuation is blank (for the log-likelihood: without tokens)
has no value (NaN) and is counted; without any value the mean is NaN. As an `evaluate.Metric` this file is the cosine,
`perplexity.py` the log-likelihood.

cosine: Li et al. (2022) use SimCSE (BERT's pooler output) and 128 word pieces of either side; values of other embedders
or truncations do not compare, so the note of every score names both. log-likelihood: Su & Xu (2022) use OPT-2.7B; texts
count alike whatever their length, unlike in perplexity, whose rows these are.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from cdeval.assets import embedded as assets
from cdeval.config.enums import Pooling
from cdeval.metrics.evaluating import as_generations, choice_of, offer
from cdeval.metrics.features import NO_CACHE, FeatureCache, key, require_finite
from cdeval.records import Generation

if TYPE_CHECKING:
    from cdeval.metrics.judges.embedder import Embedder


def coherence_rows(
    arms: Sequence[Sequence[Generation]], embedder: "Embedder", cache: FeatureCache = NO_CACHE
) -> list[Float[np.ndarray, "text 1"]]:
    """The cosine of prompt and continuation of each text, arm by arm.

    Arms share prompts, and often continuations: each distinct text is embedded once.

    Raises: ValueError: the embedder returns another number of vectors than it got texts. ModelError: one of them holds
        NaN or infinity.
    """
    texts = {
        text: generation.id
        for generations in arms
        for generation in generations
        for text in (generation.prompt, generation.continuation)
        if text.strip()
    }
    embedded = _embedded(list(texts), embedder, cache) if texts else np.empty((0, 1))
    require_finite(embedded, list(texts.values()), "coherence", embedder.model or embedder.note, "an embedding")
    vectors = dict(zip(texts, _unit(embedded), strict=True))

    def cosine(generation: Generation) -> float:
        prompt, continuation = vectors.get(generation.prompt), vectors.get(generation.continuation)
        return math.nan if prompt is None or continuation is None else float(prompt @ continuation)

    return [np.array([cosine(g) for g in generations], dtype=np.float64).reshape(-1, 1) for generations in arms]


def loglik_rows(nll: Float[np.ndarray, "text 2"]) -> Float[np.ndarray, "text 1"]:
    """Mean log-likelihood a token [nats] of each text, from the rows of `nll_rows`; NaN where it has no tokens."""
    return np.asarray(-nll[:, :1] / nll[:, 1:])


def _embedded(texts: list[str], embedder: "Embedder", cache: FeatureCache) -> Float[np.ndarray, "text width"]:
    """The embeddings, from disk where the embedder is one that can be told from others."""
    if not embedder.fingerprint:
        cache = NO_CACHE
    keys = [key("embedding", embedder.fingerprint, text) for text in texts]
    rows = cache.rows(keys, lambda missing: embedder.embed([texts[index] for index in missing]))
    return np.asarray(rows, dtype=np.float64)


def _unit(vectors: Float[np.ndarray, "text width"]) -> Float[np.ndarray, "text width"]:
    """Vectors of length one; NaN for a vector of zeros."""
    with np.errstate(invalid="ignore"):
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _compute(
    predictions: Sequence[str],
    prompts: Sequence[str],
    embedder: str = "embedded:minilm",
    pooling: str = "auto",
    tokens: int | None = None,
    device: str = "auto",
) -> dict[str, float]:
    # torch takes seconds, and a report, which reads this file for the metric's name, needs none of it.
    from cdeval.metrics.judges.embedder import load_embedder  # noqa: PLC0415
    from cdeval.models.loading import choose_device  # noqa: PLC0415

    how = choice_of(Pooling, "pooling", pooling)
    model = load_embedder(assets.resolve(embedder), str(choose_device(device)), pooling=how, tokens=tokens)
    (rows,) = coherence_rows([as_generations(predictions, prompts)], model)
    present = rows[~np.isnan(rows)]
    mean = float(present.mean()) if len(present) else math.nan
    return {"coherence": mean, "missing": float(len(rows) - len(present))}


Metric = offer(__name__, __doc__, _compute)
