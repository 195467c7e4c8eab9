"""The metrics that read words and need no model: length, repetition, diagnostics, and the extras."""

import math
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cdeval.config.enums import DiversityProtocol
from cdeval.metrics import diversity
from cdeval.metrics.distinct import distinct
from cdeval.metrics.entities import overlap_rows
from cdeval.metrics.longest import longest_rows
from cdeval.metrics.onset import onset_rows
from cdeval.metrics.rows import Rows, mean_rows, ratio_rows
from cdeval.metrics.self_bleu import LIMIT, self_bleu, unavailable
from cdeval.metrics.stats import Statistic, ratio_of_sums
from cdeval.records import Estimate, Generation

WORDING = ("diversity", "rep_2", "rep_3", "rep_4", "words", "repetition_onset", "longest_repeat", "entity_overlap")
EXTRAS = ("distinct_1", "distinct_2", "distinct_3", "distinct_4", "self_bleu")
_NO_NGRAM = "no text has {order} words with spaces between them, as languages written without spaces never have"
_ALONE = "compares at equal amounts only; no interval, as a resample holds texts twice"


def wording_rows(
    generations: Sequence[Generation], protocol: DiversityProtocol, names: Collection[str] = WORDING
) -> dict[str, Rows]:
    """The rows of those metrics of `WORDING` that are named."""
    texts = [generation.continuation for generation in generations]
    prompts = tuple(generation.id for generation in generations)
    beginnings = [generation.prompt for generation in generations]
    found = _repetition(texts, prompts, protocol) if set(names) & {"diversity", "rep_2", "rep_3", "rep_4"} else {}
    if "words" in names:
        words = np.array([len(text.split()) for text in texts], dtype=np.float64).reshape(-1, 1)
        found["words"] = mean_rows(words, prompts, "mean, separated by whitespace")
    if "repetition_onset" in names:
        note = "words before the first repeated 4-gram, mean over the texts that have one"
        found["repetition_onset"] = mean_rows(onset_rows(texts), prompts, note, "no text has a 4-gram twice")
    if "longest_repeat" in names:
        note = "words of the longest span that occurs twice, mean"
        found["longest_repeat"] = mean_rows(longest_rows(texts), prompts, note, "no text has a word")
    if "entity_overlap" in names:
        note = "share of the capitalised names that the prompt holds, too"
        found["entity_overlap"] = ratio_rows(overlap_rows(beginnings, texts), prompts, note, "no text has such a name")
    return {name: rows for name, rows in found.items() if name in names}


def wording_statistic(name: str, protocol: DiversityProtocol) -> Statistic:
    """How a metric of `WORDING`, or another mean, makes a number of its rows."""
    if name == "diversity":
        return partial(diversity.diversity, protocol=protocol)
    if name.startswith("rep_"):
        return partial(_rep, order=int(name.removeprefix("rep_")), protocol=protocol)
    return ratio_of_sums


def extra_estimates(generations: Sequence[Generation], names: Sequence[str], seed: int) -> dict[str, Estimate]:
    """Those metrics of `EXTRAS` that are named; none has an interval."""
    texts = [generation.continuation for generation in generations]
    found = {f"distinct_{order}": _distinct(texts, order) for order in (1, 2, 3, 4) if f"distinct_{order}" in names}
    return {**found, **({"self_bleu": _self_bleu(texts, seed)} if "self_bleu" in names else {})}


def _repetition(texts: Sequence[str], prompts: tuple[str, ...], protocol: DiversityProtocol) -> dict[str, Rows]:
    counts = diversity.ngram_counts(texts, protocol)
    note = diversity.NOTES[protocol]

    def rows(name: str, order: int) -> Rows:
        missing, lacking = diversity.without_ngrams(counts, order), _NO_NGRAM.format(order=order)
        return Rows(counts, prompts, wording_statistic(name, protocol), missing, note, lacking)

    of_orders = {f"rep_{order}": rows(f"rep_{order}", order) for order in diversity.ORDERS}
    return {"diversity": rows("diversity", max(diversity.ORDERS)), **of_orders}


def _rep(counts: NDArray[Any], order: int, protocol: DiversityProtocol) -> NDArray[np.float64]:
    return np.asarray(diversity.repetition(counts, protocol)[..., diversity.ORDERS.index(order)])


def _distinct(texts: Sequence[str], order: int) -> Estimate:
    found = distinct(texts, order)
    # The same words for every order, so that the four values of an arm share one line.
    note = f"over the {sum(len(text.split()) for text in texts)} words of all texts; {_ALONE}"
    if math.isnan(found.value):
        note = f"{_NO_NGRAM.format(order=order)}; {note}"
    return Estimate(found.value, math.nan, math.nan, len(texts) - found.missing, found.missing, note)


def _self_bleu(texts: Sequence[str], seed: int) -> Estimate:
    obstacle = unavailable()
    if obstacle:
        return Estimate(math.nan, math.nan, math.nan, 0, len(texts), obstacle)
    found = self_bleu(texts, seed)
    capped = f" (drawn from {found.present}: the cost grows with the square)" if found.present > LIMIT else ""
    note = f"BLEU-4 by sacrebleu of {found.used} texts{capped} against the others; {_ALONE}"
    if math.isnan(found.value):
        note = "fewer than two texts are not empty"
    return Estimate(found.value, math.nan, math.nan, found.present, len(texts) - found.present, note)
