import math
from pathlib import Path

import numpy as np
import pytest

from cdeval.metrics.coherence import coherence_rows
from cdeval.metrics.features import FeatureCache
from cdeval.metrics.judges.embedder import Embedder
from cdeval.records import Generation


def text(prompt: str, continuation: str) -> Generation:
    return Generation("0", prompt, (5,), None, continuation, (6,), None, None)


class Letters:
    """Counts of a, b and c: angles one can work out, of any length."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.asked.append(texts)
        return np.array([[text.count(letter) for letter in "abc"] for text in texts], dtype=np.float32)


def test_cosines_by_hand():
    arm = [text("a", "aaaa"), text("a", "b"), text("a", "ab"), text("abc", "c")]
    (rows,) = coherence_rows([arm], Embedder(Letters(), "letters"))
    np.testing.assert_allclose(rows[:, 0], [1, 0, math.sqrt(1 / 2), math.sqrt(1 / 3)])


def test_blank_texts_have_no_value_and_are_never_embedded():
    embed = Letters()
    (rows,) = coherence_rows(
        [[text("a", ""), text("a", " \n"), text(" ", "a"), text("b", "b")]], Embedder(embed, "letters")
    )
    np.testing.assert_array_equal(np.isnan(rows[:, 0]), [True, True, True, False])
    assert embed.asked == [["a", "b"]]


def test_a_zero_vector_has_no_direction():
    (rows,) = coherence_rows([[text("a", "xyz")]], Embedder(Letters(), "letters"))
    assert np.isnan(rows).all()


def test_prompts_of_several_arms_are_embedded_once():
    embed = Letters()
    rows = coherence_rows(
        [[text("a", "ab"), text("b", "b")], [text("a", "ac"), text("b", "ab")], []], Embedder(embed, "letters")
    )
    assert embed.asked == [["a", "ab", "b", "ac"]]
    assert [len(of_arm) for of_arm in rows] == [2, 2, 0]
    assert rows[1][1, 0] == pytest.approx(math.sqrt(1 / 2))


def test_too_few_vectors_are_refused():
    with pytest.raises(ValueError, match="1 rows were computed for 2 texts"):
        coherence_rows([[text("a", "b")]], Embedder(lambda texts: np.ones((1, 3), dtype=np.float32), "one"))


def test_embeddings_are_kept_and_only_of_embedders_that_can_be_told_apart(tmp_path: Path):
    """Two unnamed embedders must not answer for each other."""
    arm, cache = [text("a", "ab"), text("b", "b")], FeatureCache(tmp_path)
    first, again, other, unnamed = Letters(), Letters(), Letters(), Letters()
    (rows,) = coherence_rows([arm], Embedder(first, "", "one"), cache)
    (kept,) = coherence_rows([arm], Embedder(again, "", "one"), cache)
    np.testing.assert_array_equal(rows, kept)
    coherence_rows([arm], Embedder(other, "", "two"), cache)
    for _ in range(2):
        coherence_rows([arm], Embedder(unnamed, ""), cache)
    assert [len(embed.asked) for embed in (first, again, other, unnamed)] == [1, 0, 1, 2]
