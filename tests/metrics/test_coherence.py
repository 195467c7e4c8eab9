import math
from pathlib import Path

import numpy as np
import pytest

from cdeval import assets
from cdeval.errors import ModelError
from cdeval.metrics.coherence import coherence_rows, load_embedder
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
    (rows,) = coherence_rows([arm], Letters())
    np.testing.assert_allclose(rows[:, 0], [1, 0, math.sqrt(1 / 2), math.sqrt(1 / 3)])


def test_blank_texts_have_no_value_and_are_never_embedded():
    embed = Letters()
    (rows,) = coherence_rows([[text("a", ""), text("a", " \n"), text(" ", "a"), text("b", "b")]], embed)
    np.testing.assert_array_equal(np.isnan(rows[:, 0]), [True, True, True, False])
    assert embed.asked == [["a", "b"]]


def test_a_zero_vector_has_no_direction():
    (rows,) = coherence_rows([[text("a", "xyz")]], Letters())
    assert np.isnan(rows).all()


def test_prompts_of_several_arms_are_embedded_once():
    embed = Letters()
    rows = coherence_rows([[text("a", "ab"), text("b", "b")], [text("a", "ac"), text("b", "ab")], []], embed)
    assert embed.asked == [["a", "ab", "b", "ac"]]
    assert [len(of_arm) for of_arm in rows] == [2, 2, 0]
    assert rows[1][1, 0] == pytest.approx(math.sqrt(1 / 2))


def test_too_few_vectors_are_refused():
    with pytest.raises(ValueError, match="1 vectors for 2 texts"):
        coherence_rows([[text("a", "b")]], lambda texts: np.ones((1, 3), dtype=np.float32))


def test_missing_folder_is_a_short_error(tmp_path: Path):
    with pytest.raises(ModelError, match="is not a folder"):
        load_embedder(str(tmp_path / "nothing"))


def test_folder_without_a_model_is_a_short_error(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"cannot be read.*embedded:minilm"):
        load_embedder(str(tmp_path))


def test_embedded_model_knows_what_belongs_together():
    embedder = load_embedder(str(assets.resolve("embedded:minilm")))
    prompt = "The fire brigade fought the bush fires near Sydney all night."
    near, far = "Firefighters hope that rain will help them.", "The bank raised its interest rate by half a point."
    (rows,) = coherence_rows([[text(prompt, near), text(prompt, far)]], embedder.embed)
    assert rows[0, 0] > rows[1, 0] + 0.2
    assert "256" in embedder.note
