"""Q*Text: coherence, diversity and likelihood of a text in one number, relative to the texts that it is scored with.

    x_i      = each of the three on a scale of 0 to 100, and pushed down where it is too high to be true
    Q*Text   = 3 / Σ 1/x_i                 the harmonic mean; mean over texts, in (0, 100], higher
    as published: 3 · Π x_i / Σ x_i        rescaled to 0 … 100 over all texts that are scored together

of one text: its coherence (`cdeval.metrics.coherence`, the cosine), its diversity (the text's own (1 − rep-2) · (1 −
rep-3) · (1 − rep-4), every n-gram counted) and 1 / perplexity under `metrics.scorer`. The scale is that of the texts
of all arms that are scored together: values below the 5 % quantile or above the 95 % quantile are set to these, which
become 0 and 100; then x is multiplied by 1 − 1 / (1 + exp(−5 (x − 95))), so that the 5 % highest count as the lowest,
and is at least 0.01. So a value depends on the arms that are scored together: values compare within one command alone,
and all are computed again when an arm is added. A text that lacks one of the three has no value.

Garces Arias et al. (2025), "Towards Better Open-Ended Text Generation: A Multicriteria Evaluation Framework", arXiv
2410.18653, call it a harmonic mean, and the code that they publish says n · Π x / Σ x, which is none: of 1, 1 and 100
the one is 1.49, the other 2.94, and of 90, 90 and 90 it is 90 and 8100. The code rescales its numbers row by row,
which makes 50 of each; here all rows are rescaled together, as is meant. The authors' coherence is the log-likelihood
under OPT-2.7B, of which 1 / perplexity by the same scorer is a function: hence the cosine.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cdeval.config.enums import DiversityProtocol
from cdeval.metrics.coherence import coherence_rows
from cdeval.metrics.diversity import diversity, ngram_counts
from cdeval.metrics.forms import decimals
from cdeval.metrics.means import Arms, Basis, Found, Means
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Metric, Place
from cdeval.metrics.rows import mean_rows
from cdeval.metrics.scorefile import digest_of

_LOW, _HIGH = 0.05, 0.95  # quantiles between which a scale lies
_TOP = 100.0
_THRESHOLD, _STEEPNESS = 95.0, 5.0
_LEAST = 0.01


def scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values on the scale of 0 to 100 between their quantiles; 50 where all are alike, NaN where there is none."""
    if np.isnan(values).all():
        return values
    low, high = np.nanquantile(values, [_LOW, _HIGH])
    if high <= low:
        return np.where(np.isnan(values), math.nan, _TOP / 2)
    return np.asarray((np.clip(values, low, high) - low) / (high - low) * _TOP)


def penalised(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Push down what is above the threshold of a scale of 0 to 100.

    >>> penalised(np.array([0.0, 50.0, 95.0])).round(3).tolist()
    [0.01, 50.0, 47.5]
    """
    kept = 1 - 1 / (1 + np.exp(-_STEEPNESS * (scale - _THRESHOLD)))
    return np.maximum(scale * kept, _LEAST)


def q_text(parts: NDArray[np.float64], *, published: bool = False) -> NDArray[np.float64]:
    """Q*Text of each text [text, part]; NaN where a part is."""
    x = np.stack([penalised(scaled(part)) for part in parts.T], axis=1)
    if not published:
        return np.asarray(x.shape[1] / (1 / x).sum(axis=1))
    unbounded = x.shape[1] * x.prod(axis=1) / x.sum(axis=1)
    if np.isnan(unbounded).all():
        return np.asarray(unbounded)
    low, high = np.nanmin(unbounded), np.nanmax(unbounded)
    if high <= low:
        return np.where(np.isnan(unbounded), math.nan, _TOP / 2)
    return np.asarray((unbounded - low) / (high - low) * _TOP)


@dataclass(kw_only=True, eq=False)
class _QText(Metric):
    """Q*Text of arms that are scored together."""

    published: bool

    def basis_together(self, digests: Mapping[str, str], means: Means) -> Mapping[str, Basis]:
        """The texts of all arms, whose scale it is."""
        every = digest_of(sorted(digests.items()))
        return {label: {"scale": every} for label in digests}

    def score(self, arms: Arms, means: Means) -> Mapping[str, Found]:
        """Scale the parts of all texts together."""
        parts = means.once((_QText, *arms), lambda: _parts(arms, means))
        values = q_text(parts, published=self.published)
        note = f"on the scale of the {len(values)} texts of {len(arms)} arm{'s' if len(arms) > 1 else ''}"
        if self.published:
            note += ", n Πx / Σx"
        ends = np.cumsum([len(texts) for texts in arms.values()])[:-1]
        return {
            label: mean_rows(rows.reshape(-1, 1), [text.id for text in texts], note, "each text lacks one of the three")
            for (label, texts), rows in zip(arms.items(), np.split(values, ends), strict=True)
        }


def _parts(arms: Arms, means: Means) -> NDArray[np.float64]:
    """Coherence, diversity and 1 / perplexity of every text, arm by arm [text, 3]."""
    coherence = np.concatenate(coherence_rows(list(arms.values()), means.embedder(), means.judges.cache))[:, 0]
    counts = ngram_counts([text.continuation for texts in arms.values() for text in texts], DiversityProtocol.corrected)
    varied = diversity(counts[:, None])
    nll = np.concatenate([means.nll(texts) for texts in arms.values()])
    return np.stack([coherence, varied, np.exp(-nll[:, 0] / nll[:, 1])], axis=1)


for _published in (False, True):
    metric(
        "q_text_published" if _published else "q_text",
        label=f"Q*Text{' as published' if _published else ''}",
        header=f"Q*Text\n{'nΠx/Σx' if _published else 'harmonic'}",
        better="higher",
        digits=1,
        form=decimals(1),
        bounds=(0, 100),
        place=Place.extra,
        order=68,
        needs=["embedder", "scorer"],
        together="scale",
        published=_published,
    )(_QText)
