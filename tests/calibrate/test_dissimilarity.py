"""ROUGE-L over tokens, by hand and against all subsequences."""

import random
from itertools import combinations

import pytest

from cdeval.calibrate.dissimilarity import common, dissimilarity


def test_by_hand() -> None:
    """Lin 2004, section 3.1: `police killed the gunman` beside two others of the same words."""
    police, killed, the, gunman, kill = range(5)
    reference = [police, killed, the, gunman]
    assert dissimilarity([police, kill, the, gunman], reference) == pytest.approx(1 - 3 / 4)
    assert dissimilarity([the, gunman, kill, police], reference) == pytest.approx(1 - 2 / 4)
    assert dissimilarity([police, killed], reference) == pytest.approx(1 - 2 * 2 / 6), "lengths count"


def test_its_range() -> None:
    assert dissimilarity([1, 2, 3], [1, 2, 3]) == 0
    assert dissimilarity([1, 2, 3], [4, 5]) == 1
    assert dissimilarity([], []) == 0
    assert dissimilarity([], [1]) == 1


def test_the_longest_common_subsequence_is_the_longest_of_all() -> None:
    rng = random.Random(0)
    for _ in range(200):
        one, other = ([rng.randrange(4) for _ in range(rng.randrange(8))] for _ in range(2))

        def subsequences(text: list[int]) -> set[tuple[int, ...]]:
            return {part for size in range(len(text) + 1) for part in combinations(text, size)}

        assert common(one, other) == max(map(len, subsequences(one) & subsequences(other)))
