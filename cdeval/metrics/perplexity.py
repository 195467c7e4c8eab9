"""Perplexity: how surprised a language model is by a continuation, given its prompt.

    nll(text)  = − Σ_t log p(x_t | prompt, x_<t)           [nats, float32 log-softmax, teacher forcing]
    perplexity = exp( Σ_texts nll / Σ_texts tokens )       >= 1, lower is likelier

Lower is not better: greedy and beam search reach the lowest values with the dullest texts; the human text shows where
good prose lies. All arms are scored by one model on that model's own tokens. The model that wrote a text finds it
likelier than any other does, so the note says whether the judge is that model or another.

What a text's own model said of each token while it wrote the text is the same number but for rounding (in bfloat16,
SmolLM2's perplexity moves by 0.3 %). Where a text brings it (`Generation.logprob_expert`), the model does not read it
again.

A continuation without tokens has no value (NaN). Li et al. (2022) score the continuation alone, 100 tokens under GPT-J.
The same rows per text and token are a measure of coherence (`cdeval.metrics.coherence`).
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from cdeval.config.enums import Dtype
from cdeval.config.schema import ExpertConfig, ProtocolConfig
from cdeval.metrics.evaluating import as_generations, choice_of, offer
from cdeval.metrics.forms import significant
from cdeval.metrics.means import Found, Means
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Metric, Place
from cdeval.metrics.rows import Rows, mean_rows
from cdeval.metrics.stats import Statistic, perplexity
from cdeval.records import Generation

_WITHOUT_IDS = "no text has a token of the model"


@metric(
    "perplexity_expert",
    label="perplexity",
    better="human",
    digits=2,
    form=significant(4),
    ends=significant(3),
    bounds=(1, math.inf),
    order=32,
    needs=["scorer"],
)
class Perplexity(Metric):
    """The perplexity of all texts of an arm together: long ones weigh more."""

    def of_arm(self, texts: Sequence[Generation], means: Means) -> Found:
        """Read the texts by the scorer."""
        nll = means.nll(texts)
        missing, note = int(np.isnan(nll).any(axis=1).sum()), means.judges.describe_likelihood()
        return Rows(nll, tuple(text.id for text in texts), perplexity, missing, note, _WITHOUT_IDS)

    def statistic(self, protocol: ProtocolConfig) -> Statistic:
        """The exponential of nats a token."""
        return perplexity


@metric(
    "coherence_loglik",
    label="log-likelihood",
    unit="nats/token",
    better="human",
    bounds=(-math.inf, 0),
    place=Place.file,
    order=31,
    needs=["scorer"],
)
class LogLikelihood(Metric):
    """The log-likelihood of a token, as a mean over texts of any length. Su & Xu (2022) use OPT-2.7B."""

    def of_arm(self, texts: Sequence[Generation], means: Means) -> Found:
        """Read the texts by the scorer, as perplexity does."""
        note = f"mean over texts, {means.judges.describe_likelihood()}"
        return mean_rows(loglik_rows(means.nll(texts)), [text.id for text in texts], note, _WITHOUT_IDS)


def loglik_rows(nll: Float[np.ndarray, "text 2"]) -> Float[np.ndarray, "text 1"]:
    """Mean log-likelihood a token [nats] of each text, from the rows of `nll_rows`; NaN where it has no tokens."""
    return np.asarray(-nll[:, :1] / nll[:, 1:])


def _compute(
    predictions: Sequence[str],
    prompts: Sequence[str],
    model: str = "embedded:smollm2",
    dtype: str = "auto",
    device: str = "auto",
) -> dict[str, float]:
    # torch takes seconds, and a report, which reads in this file what the metric is called, needs none of it.
    from cdeval.metrics.judges.likelihood import nll_rows  # noqa: PLC0415
    from cdeval.metrics.judges.scorer import TextReader  # noqa: PLC0415
    from cdeval.models.loading import open_model  # noqa: PLC0415

    chosen = ExpertConfig(name=model, dtype=choice_of(Dtype, "dtype", dtype), device=device)
    judge = open_model(chosen).load()
    rows = nll_rows(judge, TextReader(judge, retokenise=True).read(as_generations(predictions, prompts)))
    present = rows[~np.isnan(rows).any(axis=1)]
    return {
        "perplexity": float(perplexity(present)),
        "coherence_loglik": float((-present[:, 0] / present[:, 1]).mean()) if len(present) else math.nan,
        "missing": float(len(rows) - len(present)),
    }


Module = offer(__name__, __doc__, _compute)
