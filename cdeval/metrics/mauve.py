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

from collections.abc import Sequence

from cdeval.config.enums import Codebook, Dtype
from cdeval.config.schema import ExpertConfig, MetricsConfig
from cdeval.errors import ModelError
from cdeval.metrics.codebook import MEASURES, unavailable
from cdeval.metrics.evaluating import as_generations, choice_of, offer


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
    from cdeval.metrics.judges.clusters import mauve_of_arms  # noqa: PLC0415
    from cdeval.metrics.judges.scorer import TextReader  # noqa: PLC0415
    from cdeval.models.loading import open_model  # noqa: PLC0415

    book = choice_of(Codebook, "codebook", codebook)
    if obstacle := unavailable(book):
        raise ModelError(obstacle)
    featurizer = open_model(ExpertConfig(name=model, dtype=choice_of(Dtype, "dtype", dtype), device=device)).load()
    config = MetricsConfig(mauve_seeds=kmeans_seeds, mauve_codebook=book, bootstrap_draws=2)  # no interval is asked for
    generated, human = (as_generations(texts) for texts in (predictions, references))
    reader = TextReader(featurizer, retokenise=True)
    found = mauve_of_arms({"predictions": generated}, human, reader, config, seed).estimates["predictions"]
    return {**{name: found[name].value for name in MEASURES}, "missing": float(found["mauve"].missing)}


Metric = offer(__name__, __doc__, _compute)
