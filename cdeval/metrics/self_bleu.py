"""Self-BLEU: how much the texts of one arm resemble each other.

    self-BLEU = mean over texts of BLEU-4( text; references: the other texts ) / 100     in [0, 1], lower is more varied

BLEU of a sentence by sacrebleu (13a tokens, effective order, exponential smoothing). Empty texts are left out and
counted; fewer than two texts have no value (NaN).

Each text is compared with every other one, so the cost grows with the square of their number: 100 texts of 200 words
take some ten seconds, 2000 an hour. Hence at most `LIMIT` texts, drawn by the seed, are hypotheses and references. The
value rises with the number of references, so it compares at equal numbers only: the note of every value names it. There
is no interval: texts of a resample are their own references.

Zhu et al. (2018), "Texygen: A Benchmarking Platform for Text Generation Models".
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cdeval.assets.extras import how_to_install
from cdeval.metrics.evaluating import offer
from cdeval.metrics.forms import fraction
from cdeval.metrics.means import Found, Means
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Metric, Place
from cdeval.metrics.rows import EQUAL_AMOUNTS
from cdeval.records import Estimate, Generation

LIMIT = 50


class SelfBleu(NamedTuple):
    """The value and what it is of."""

    value: float
    used: int  # texts compared with each other
    present: int  # texts that are not empty


def unavailable() -> str:
    """Why self-BLEU cannot be computed on this machine; empty where it can."""
    try:
        import sacrebleu  # noqa: F401, PLC0415 - only this metric needs it
    except ImportError as error:
        return f"self-BLEU needs sacrebleu ({error}): {how_to_install('self-bleu')}"
    return ""


def self_bleu(texts: Sequence[str], seed: int = 0, limit: int = LIMIT) -> SelfBleu:
    """Self-BLEU of at most `limit` of the texts. Raises: ImportError: sacrebleu is missing; ask `unavailable` first."""
    from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415 - only this metric needs it

    present = [text for text in texts if text.strip()]
    if len(present) < 2:
        return SelfBleu(math.nan, 0, len(present))
    drawn = np.sort(np.random.default_rng(seed).permutation(len(present))[:limit])
    chosen = [present[index] for index in drawn]
    bleu = BLEU(effective_order=True)
    scores = [
        bleu.sentence_score(text, [*chosen[:position], *chosen[position + 1 :]]).score
        for position, text in enumerate(chosen)
    ]
    return SelfBleu(float(np.mean(scores)) / 100, len(chosen), len(present))


@metric(
    "self_bleu",
    label="self-BLEU",
    better="lower",
    form=fraction(3),
    bounds=(0, 1),
    place=Place.extra,
    order=60,
)
class _SelfBleu(Metric):
    """Self-BLEU of an arm."""

    def of_arm(self, texts: Sequence[Generation], means: Means) -> Found:
        """Compare the texts with each other; there is no interval."""
        obstacle = unavailable()
        if obstacle:
            return Estimate(math.nan, math.nan, math.nan, 0, len(texts), obstacle)
        found = self_bleu([text.continuation for text in texts], means.seed)
        capped = f" (drawn from {found.present}: the cost grows with the square)" if found.present > LIMIT else ""
        note = f"BLEU-4 by sacrebleu of {found.used} texts{capped} against the others; {EQUAL_AMOUNTS}"
        if math.isnan(found.value):
            note = "fewer than two texts are not empty"
        return Estimate(found.value, math.nan, math.nan, found.present, len(texts) - found.present, note)


def _compute(predictions: Sequence[str], seed: int = 0, limit: int = LIMIT) -> dict[str, float]:
    found = self_bleu(predictions, seed, limit)
    return {"self_bleu": found.value, "texts_used": float(found.used)}


Module = offer(__name__, __doc__, _compute)
