"""Metrics of one's own that read all texts of an arm: by the embedder, by the scorer, and by rows that add up."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cdeval import Metric, metric
from cdeval.config.schema import ProtocolConfig
from cdeval.metrics.means import Means
from cdeval.metrics.rows import Rows
from cdeval.records import Generation


@metric("likeness", better="lower", digits=2, note="mean cosine of every two texts; no interval")
def likeness(texts: list[str], embed: Callable[[Sequence[str]], NDArray[np.float64]]) -> float:
    """One number of all texts together: it has no interval and is compared with nothing."""
    vectors = embed(texts)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    count = len(texts)
    return float((unit @ unit.T).sum() - count) / (count * (count - 1)) if count > 1 else math.nan


@metric("bits_per_byte", label="bits/byte", better="human", digits=2, note="nats of the scorer over bytes of UTF-8")
def bits_per_byte(texts: list[str], nll: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two numbers a text, whose sums are divided: an interval over prompts, and a paired comparison."""
    return np.column_stack([nll[:, 0] / math.log(2), [len(text.encode()) or math.nan for text in texts]])


@metric("spread", label="spread of lengths", unit="words", digits=1)
class Spread(Metric):
    """A class: rows of one's own, which add up, and how their sums become a number."""

    def of_arm(self, texts: Sequence[Generation], means: Means) -> Rows:
        """Words of each text, their square and a one."""
        words = np.array([len(text.continuation.split()) for text in texts], dtype=np.float64)
        rows, prompts = np.column_stack([words, words**2, np.ones(len(words))]), tuple(text.id for text in texts)
        return Rows(rows, prompts, self.statistic(means.protocol), missing=0, note="standard deviation")

    def statistic(self, protocol: ProtocolConfig) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """The standard deviation, of rows or of their sums."""

        def deviation(rows: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = rows.sum(axis=-2)
            mean = sums[..., 0] / sums[..., 2]
            return np.sqrt(np.maximum(sums[..., 1] / sums[..., 2] - mean**2, 0.0))

        return deviation
