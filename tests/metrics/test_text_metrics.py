"""The metrics of other packages and papers against naive computations of what they say."""

import gzip
import math
import random
import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from cdeval.config.metrics import METRICS
from cdeval.config.schema import MetricsConfig
from cdeval.metrics.adjusted_distinct import expectation_adjusted, rarefied
from cdeval.metrics.compression import compression_ratio
from cdeval.metrics.distinct import distinct
from cdeval.metrics.distinct_samples import classes
from cdeval.metrics.judges.embedder import Embedder
from cdeval.metrics.judges.opening import Judges
from cdeval.metrics.means import Means, measured
from cdeval.metrics.q_text import penalised, q_text, scaled
from cdeval.metrics.self_repetition import self_repetition
from cdeval.metrics.vendi import vendi
from cdeval.records import Estimate, Generation

WORDS = [*"abcdefghijklmnopqrst"]


def sentences(seed: int, texts: int, words: int = 40, kinds: int = 20) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS[:kinds]) for _ in range(words)) for _ in range(texts)]


def generations(texts: Sequence[str], ids: Sequence[str] = ()) -> list[Generation]:
    names = ids or [f"{place}" for place in range(len(texts))]
    return [
        Generation(name, "The", (1,), None, text, (2,), None, None) for name, text in zip(names, texts, strict=True)
    ]


def estimate(name: str, texts: Sequence[Generation], embedder: Embedder | None = None) -> Estimate:
    means = Means(Judges(None, embedder or ""), MetricsConfig(bootstrap_draws=100))
    return measured(METRICS[name].of_arm(texts, means), means.settings).estimate


def test_the_ratio_is_of_what_gzip_writes(tmp_path: Path) -> None:
    """Once; and as the package `diversity` writes it to a disk, twice, with the file's name in the header."""
    texts = [*sentences(0, 30), "ünd"]
    joined = " ".join(texts).encode()
    assert compression_ratio(texts) == len(joined) / len(gzip.compress(joined))
    with gzip.GzipFile(tmp_path / "compressed.gz", "w+") as file:
        file.write(gzip.compress(joined))
    on_disk = (tmp_path / "compressed.gz").stat().st_size
    assert compression_ratio(texts, published=True) == len(joined) / on_disk
    assert compression_ratio(texts) > compression_ratio(texts, published=True)
    assert compression_ratio(["to be " * 200]) > compression_ratio(sentences(1, 1, 400))
    assert math.isnan(compression_ratio(["", " "]))


def test_self_repetition_is_the_packages() -> None:
    """Counted text by text; the package counts a text of three words as 0, which has no value here."""
    texts = sentences(2, 12, words=30, kinds=3)

    def phrases(text: str) -> set[str]:
        return set(re.findall(r"(?=(?:^| )(\S+ \S+ \S+ \S+)(?= |$))", text))

    expected = [
        math.log(1 + sum(phrase in phrases(other) for phrase in phrases(text) for other in texts if other is not text))
        for text in texts
    ]
    np.testing.assert_allclose(self_repetition(texts), expected)
    assert min(expected) > 0
    assert np.isnan(self_repetition(["one two three"])).all()


def test_rarefaction_is_the_mean_over_all_draws() -> None:
    texts = ["a b a c", "a d b"]
    words = " ".join(texts).split()
    for draws in range(1, len(words) + 1):
        every = [len(set(drawn)) for drawn in combinations(words, draws)]
        assert rarefied(texts, 1, draws) == pytest.approx(np.mean(every) / draws)
    assert math.isnan(rarefied(texts, 1, draws=8))
    assert rarefied(texts, 2, draws=5) == pytest.approx(distinct(texts, 2).value)


def test_what_does_not_fall_with_the_amount() -> None:
    """A tenth of the texts of one source: distinct-1 doubles or more, EAD moves as much, the rarefied one stays."""
    rng = np.random.default_rng(0)
    many = [" ".join(f"w{word}" for word in rng.zipf(1.3, 100)) for _ in range(200)]
    few = many[:20]
    assert distinct(few, 1).value > 1.6 * distinct(many, 1).value
    assert expectation_adjusted(few) > 1.4 * expectation_adjusted(many)
    assert rarefied(few, 1) == pytest.approx(rarefied(many, 1), rel=0.05)


def test_ead_is_the_formula() -> None:
    texts = sentences(3, 5)
    n, c, v = len(set(" ".join(texts).split())), len(" ".join(texts).split()), 50_257
    assert expectation_adjusted(texts) == pytest.approx(n / (v * (1 - ((v - 1) / v) ** c)))
    assert math.isnan(expectation_adjusted([" "]))


@pytest.mark.parametrize("shape", [(4, 9), (30, 6)])
def test_the_vendi_score_is_the_entropy_of_all_eigenvalues(shape: tuple[int, int]) -> None:
    """Of K / n as it is defined, whichever side is shorter; of equal texts 1."""
    vectors = np.random.default_rng(4).normal(size=shape)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    eigenvalues = np.clip(np.linalg.eigvals(unit @ unit.T / len(unit)).real, 1e-15, None)
    assert vendi(vectors) == pytest.approx(math.exp(-(eigenvalues * np.log(eigenvalues)).sum()))
    assert vendi(np.repeat(vectors[:1], 7, axis=0)) == pytest.approx(1)
    assert vendi(np.eye(5)) == pytest.approx(5)


def test_classes_are_those_of_the_first_texts() -> None:
    """As NoveltyBench sorts: by the first of a class alone, so likeness need not be transitive."""
    chain = ["a b c d", "c d e f", "e f g h"]
    assert classes(chain) == 2  # the second is like the first, the third like the second alone
    assert classes(["one two", "three four", "One, two!"]) == 2
    assert classes(["", " ", "x"]) == 2


def test_distinct_k_is_a_mean_over_prompts() -> None:
    texts = generations(["a b", "a b", "c d", "x y", "x y", "alone"], ["p", "p", "p", "q", "q", "r"])
    found = estimate("distinct_samples", texts)
    assert found.value == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (found.n, found.missing) == (2, 1)
    assert "k = 1 to 3" in found.note


def naive_q_text(parts: Sequence[Sequence[float]], *, published: bool) -> list[float]:
    """The authors' script, number by number."""
    columns = []
    for part in zip(*parts, strict=True):
        low, high = np.quantile(part, 0.05), np.quantile(part, 0.95)
        inside = [min(max(one, low), high) for one in part]
        scale = [(one - min(inside)) / (max(inside) - min(inside)) * 100 for one in inside]
        columns.append([max(x * (1 - 1 / (1 + math.exp(-5 * (x - 95)))), 0.01) for x in scale])
    rows = list(zip(*columns, strict=True))
    if not published:
        return [len(x) / sum(1 / one for one in x) for x in rows]
    values = [len(x) * math.prod(x) / sum(x) for x in rows]
    return [(one - min(values)) / (max(values) - min(values)) * 100 for one in values]


@pytest.mark.parametrize("published", [False, True])
def test_q_text_is_the_published_script_and_the_mean_that_it_means(published: bool) -> None:
    parts = np.random.default_rng(5).uniform(size=(40, 3))
    np.testing.assert_allclose(q_text(parts, published=published), naive_q_text(parts.tolist(), published=published))


def test_q_text_of_few_and_equal_texts() -> None:
    assert scaled(np.array([0.3, 0.3, math.nan])).tolist()[:2] == [50, 50]
    assert np.isnan(scaled(np.array([0.3, 0.3, math.nan]))[2])
    assert penalised(np.array([100.0]))[0] == 0.01
    assert q_text(np.full((3, 3), 0.2)).tolist() == pytest.approx([50] * 3)
    assert q_text(np.full((3, 3), 0.2), published=True).tolist() == [50] * 3
    assert np.isnan(q_text(np.array([[0.1, 0.2, math.nan]] * 2), published=True)).all()


def test_values_name_what_they_are_of() -> None:
    texts = generations([*sentences(6, 3), " "])
    embedder = Embedder(lambda said: np.eye(len(said), 8, dtype=np.float32), "cosine of one")
    for name in ("compression_ratio", "compression_ratio_published", "self_repetition", "vendi"):
        found = estimate(name, texts, embedder)
        assert "equal amounts" in found.note
        assert (found.n, found.missing) == (3, 1)
    assert estimate("vendi", texts, embedder).value == pytest.approx(3)
    assert "cosine of one" in estimate("vendi", texts, embedder).note
    assert "120 1-grams, fewer than the 500" in estimate("rarefied_1", texts).note
    for name in ("compression_ratio", "self_repetition", "ead", "rarefied_2", "vendi", "distinct_samples"):
        found = estimate(name, texts[3:])
        assert math.isnan(found.value)
        assert found.note
