"""Compression ratio: how much shorter gzip makes the texts of an arm, which it can where they say things again.

    ratio = bytes of all texts / bytes of the same as gzip packs them     above 0, lower is more varied

over the texts joined by blanks, in UTF-8. gzip finds what comes again within the last 32 768 bytes, inside a text and
across texts. The ratio rises with the amount of text, so it compares at equal amounts only: the note of every value
names its bytes. There is no interval: a resample holds texts twice. Empty texts are counted as missing; without a byte
the value is NaN.

Shaib et al. (2024), "Standardizing the Measurement of Text Diversity", recommend it, and publish the package
`diversity`. Its gzip path packs what is packed already: `gzip.compress(…)` is written through a `gzip.GzipFile`, whose
header names the file. `compression_ratio_published` does the same, and is lower by the bytes that the second packing
adds.
"""

import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from cdeval.metrics.evaluating import offer
from cdeval.metrics.forms import decimals
from cdeval.metrics.means import Found, Means
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Metric, Place
from cdeval.metrics.rows import EQUAL_AMOUNTS
from cdeval.records import Estimate, Generation

_NAME = "compressed.gz"  # of the package's file: the header of a packed file holds it


def compression_ratio(texts: Sequence[str], *, published: bool = False) -> float:
    """Bytes over packed bytes, packed once, or twice as the package `diversity` does; NaN without a byte.

    >>> compression_ratio(["a loop " * 100]) > compression_ratio(["no word of this comes again"])
    True
    """
    content = " ".join(texts).encode("utf-8", "surrogatepass")
    if not content.strip():
        return math.nan
    packed = gzip.compress(content, mtime=0)
    if published:
        file = BytesIO()
        with gzip.GzipFile(_NAME, "wb", fileobj=file) as again:
            again.write(packed)
        packed = file.getvalue()
    return len(content) / len(packed)


@dataclass(kw_only=True, eq=False)
class _CompressionRatio(Metric):
    """The compression ratio of an arm."""

    published: bool

    def of_arm(self, texts: Sequence[Generation], means: Means) -> Found:
        """Pack the texts; there is no interval."""
        said = [text.continuation for text in texts]
        value = compression_ratio(said, published=self.published)
        missing = sum(not text.strip() for text in said)
        twice = ", packed twice as by the package diversity" if self.published else ""
        note = f"over {len(' '.join(said).encode('utf-8', 'surrogatepass'))} bytes{twice}; {EQUAL_AMOUNTS}"
        if math.isnan(value):
            note = "each text is blank"
        return Estimate(value, math.nan, math.nan, len(texts) - missing, missing, note)


for _published in (False, True):
    metric(
        "compression_ratio_published" if _published else "compression_ratio",
        header="gzip\ntwice" if _published else "gzip\nratio",
        label=f"compression ratio{' as published' if _published else ''}",
        better="lower",
        digits=2,
        form=decimals(2),
        bounds=(0, math.inf),
        place=Place.extra,
        order=62,
        published=_published,
    )(_CompressionRatio)


def _compute(predictions: Sequence[str]) -> dict[str, float]:
    return {
        "compression_ratio": compression_ratio(predictions),
        "compression_ratio_published": compression_ratio(predictions, published=True),
    }


Module = offer(__name__, __doc__, _compute)
