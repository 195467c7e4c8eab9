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
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from cdeval.assets import embedded as assets
from cdeval.config.enums import Pooling
from cdeval.metrics.evaluating import as_generations, choice_of, offer
from cdeval.metrics.features import NO_CACHE, FeatureCache, require_finite
from cdeval.metrics.forms import fraction
from cdeval.metrics.means import Arms, Found, Means
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Metric
from cdeval.metrics.rows import mean_rows
from cdeval.records import Generation

if TYPE_CHECKING:
    from cdeval.metrics.judges.embedder import Embedder


@metric(
    "coherence",
    better="higher",
    more="more coherent",
    less="less coherent",
    form=fraction(3),
    bounds=(-1, 1),
    order=30,
    beside="diversity",
    needs=["embedder"],
)
class Coherence(Metric):
    """The cosine of prompt and continuation."""

    def score(self, arms: Arms, means: Means) -> Mapping[str, Found]:
        """Embed the texts of all arms together: they share prompts, and often continuations."""
        embedder = means.embedder()
        rows = coherence_rows(list(arms.values()), embedder, means.judges.cache)
        return {
            label: mean_rows(values, [text.id for text in texts], embedder.note, "each text is blank, or its prompt is")
            for (label, texts), values in zip(arms.items(), rows, strict=True)
        }


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
    embedded = embedder.vectors(list(texts), cache) if texts else np.empty((0, 1))
    require_finite(embedded, list(texts.values()), "coherence", embedder.model or embedder.note, "an embedding")
    vectors = dict(zip(texts, _unit(embedded), strict=True))

    def cosine(generation: Generation) -> float:
        prompt, continuation = vectors.get(generation.prompt), vectors.get(generation.continuation)
        return math.nan if prompt is None or continuation is None else float(prompt @ continuation)

    return [np.array([cosine(g) for g in generations], dtype=np.float64).reshape(-1, 1) for generations in arms]


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
    from cdeval.models.hardware import choose_device  # noqa: PLC0415

    how = choice_of(Pooling, "pooling", pooling)
    model = load_embedder(assets.resolve(embedder), str(choose_device(device)), pooling=how, tokens=tokens)
    (rows,) = coherence_rows([as_generations(predictions, prompts)], model)
    present = rows[~np.isnan(rows)]
    mean = float(present.mean()) if len(present) else math.nan
    return {"coherence": mean, "missing": float(len(rows) - len(present))}


Module = offer(__name__, __doc__, _compute)
