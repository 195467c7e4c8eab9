from pathlib import Path

import numpy as np
import pytest

from cdeval.metrics import features as module
from cdeval.metrics.features import FeatureCache, key


class Model:
    """Rows that tell their index, and a count of what was asked."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, missing: list[int]) -> np.ndarray:
        self.asked.append(missing)
        return np.array([[index, index / 3] for index in missing], dtype=np.float32)


def keys(*names: str) -> list[str]:
    return [key("test", "model", name) for name in names]


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "new" / "cache")


def files(cache: FeatureCache) -> list[Path]:
    assert cache.folder is not None
    return sorted(path for path in cache.folder.rglob("*") if path.is_file())


def test_only_missing_rows_are_computed_once_and_in_order(cache: FeatureCache):
    model = Model()
    first = cache.rows(keys("a", "b", "a"), model)
    np.testing.assert_allclose(first, [[0, 0], [1, 1 / 3], [0, 0]], rtol=1e-6)
    again = cache.rows(keys("b", "c", "a"), model)
    np.testing.assert_array_equal(again[0], first[1])
    np.testing.assert_array_equal(again[2], first[0])
    assert model.asked == [[0, 1], [1]]
    assert again.dtype == np.float32


def test_without_a_folder_nothing_is_kept():
    model = Model()
    for _ in range(2):
        FeatureCache(None).rows(keys("a"), model)
    assert model.asked == [[0], [0]]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "pickle"])
def test_a_damaged_row_is_computed_and_written_again(cache: FeatureCache, damage: str):
    """One flipped bit of a number is a wrong score that no parser notices; a pickle must never be opened."""
    model = Model()
    good = cache.rows(keys("b", "a"), model)
    for path in files(cache):
        content = path.read_bytes()
        spoilt = {
            "flip": content[:-36] + bytes([content[-36] ^ 1]) + content[-35:],
            "cut": content[:50],
            "empty": b"",
            "pickle": b"\x80\x04cposix\nsystem\n",
        }[damage]
        path.write_bytes(spoilt)
    np.testing.assert_array_equal(cache.rows(keys("b", "a"), model), good)
    np.testing.assert_array_equal(cache.rows(keys("b", "a"), model), good)
    assert model.asked == [[0, 1], [0, 1]]


def test_rows_appear_whole(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch):
    """A write that is killed half-way leaves no row behind under its name."""

    def killed(source: Path, target: Path) -> None:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(module.os, "replace", killed)
        cache.rows(keys("a"), Model())
    assert not files(cache)


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    model = Model()
    assert FeatureCache(blocked / "cache").rows(keys("a"), model).tolist() == [[0, 0]]
    assert blocked.read_text() == "in the way"


def test_another_number_of_rows_is_refused(cache: FeatureCache):
    with pytest.raises(ValueError, match="2 rows were computed for 1 texts"):
        cache.rows(keys("a"), lambda missing: np.ones((2, 3)))
    assert not cache.folder.exists()


def test_everything_that_makes_a_row_is_in_its_key():
    """Joined parts, words that look like ids and another model must not meet in one key."""
    made = [
        key("nll", "model", (1, 2), (3,)),
        key("nll", "model", (1,), (2, 3)),
        key("nll", "model", (1, 2, 3)),
        key("nll", "model", (1, 2, 3), ()),
        key("nll", "other", (1, 2), (3,)),
        key("hidden", "model", (1, 2), (3,)),
        key("nll", "model", "ab", "c"),
        key("nll", "model", "a", "bc"),
        key("nll", "model", "\ud800"),  # half of a surrogate pair has no UTF-8
        key("nll", "model", np.array([97], dtype="<i8").tobytes().decode()),
        key("nll", "model", (97,)),
    ]
    assert len(set(made)) == len(made)
    assert made[0] == key("nll", "model", [1, 2], [3])
