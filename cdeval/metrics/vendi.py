"""Vendi score: how many texts that have nothing in common would be as varied as those of an arm.

    Vendi score = exp( − Σ λ ln λ )     in [1, number of texts], higher is more varied

over the eigenvalues λ of K / n, with K the cosines of the texts' embeddings (`metrics.embedder`) and 0 ln 0 = 0: n
equal texts have 1, n texts at right angles n. Embeddings of unlike texts are far from right angles, so that values lie
far below n, and values of other embedders do not compare. It rises with the number of texts, so it compares at equal
numbers only; there is no interval, since a resample holds texts twice. Blank texts are left out and counted.

Friedman & Dieng (2023), "The Vendi Score: A Diversity Evaluation Metric for Machine Learning". It is computed through
the smaller of K / n and the covariance of the embeddings, which share their eigenvalues above 0, as the authors'
`score_dual` does.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from cdeval.assets import embedded as assets
from cdeval.metrics.evaluating import offer
from cdeval.metrics.features import require_finite
from cdeval.metrics.forms import decimals
from cdeval.metrics.means import Found, Means
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Metric, Place
from cdeval.metrics.rows import EQUAL_AMOUNTS
from cdeval.records import Estimate, Generation


def vendi(vectors: Float[np.ndarray, "text width"]) -> float:
    """The Vendi score of embeddings of any length; NaN without one.

    >>> round(vendi(np.eye(3)), 6), round(vendi(np.ones((3, 2))), 6)
    (3.0, 1.0)
    """
    if not len(vectors):
        return math.nan
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    smaller = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    values = np.linalg.eigvalsh(smaller / len(unit))
    positive = values[values > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


@metric(
    "vendi",
    label="Vendi score",
    header="Vendi\nscore",
    unit="texts",
    better="higher",
    digits=2,
    form=decimals(2),
    bounds=(1, math.inf),
    place=Place.extra,
    order=66,
    needs=["embedder"],
)
class _Vendi(Metric):
    """The Vendi score of an arm."""

    def of_arm(self, texts: Sequence[Generation], means: Means) -> Found:
        """Embed the texts; there is no interval."""
        present = [text for text in texts if text.continuation.strip()]
        missing = len(texts) - len(present)
        if not present:
            return Estimate(math.nan, math.nan, math.nan, 0, missing, "each text is blank")
        vectors = means.embed([text.continuation for text in present])
        embedder = means.embedder()
        require_finite(vectors, [text.id for text in present], "vendi", embedder.model or embedder.note, "an embedding")
        note = f"of {len(present)} texts, {embedder.note}; {EQUAL_AMOUNTS}"
        return Estimate(vendi(vectors), math.nan, math.nan, len(present), missing, note)


def _compute(predictions: Sequence[str], embedder: str = "embedded:minilm", device: str = "auto") -> dict[str, float]:
    # torch takes seconds, and a report, which reads in this file what the metric is called, needs none of it.
    from cdeval.metrics.judges.embedder import load_embedder  # noqa: PLC0415
    from cdeval.models.hardware import choose_device  # noqa: PLC0415

    present = [text for text in predictions if text.strip()]
    missing = float(len(predictions) - len(present))
    if not present:
        return {"vendi": math.nan, "missing": missing}
    model = load_embedder(assets.resolve(embedder), str(choose_device(device)))
    return {"vendi": vendi(np.asarray(model.embed(present), dtype=np.float64)), "missing": missing}


Module = offer(__name__, __doc__, _compute)
