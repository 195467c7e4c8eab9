import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cdeval.metrics.codebook import Codes
from cdeval.metrics.compare import ArmRows, Settings
from cdeval.metrics.scorefile import (
    SCORES,
    STALE,
    ArmScores,
    Score,
    exact_digest,
    read_scores,
    recipe_digest,
    texts_digest,
    to_bytes,
)
from cdeval.records import Estimate, Generation

TEXT = Generation("a", "p", (1,), None, "x y", (2, 3), -1.0, None)


def scores() -> ArmScores:
    rows = ArmRows(("a", "b"), np.array([[1.0, 2.0], [math.nan, math.nan]]))
    one = Score(Estimate(0.5, math.nan, math.nan, 1, 1, "é"), "texts", "made", {"scorer": "s"}, rows)
    other = Score(Estimate(math.nan, math.nan, math.nan, 0, 2), "texts", "", {})
    codes = Codes(("a",), human=np.zeros((1, 3), int), generated=np.ones((1, 3), int), clusters=2)
    return ArmScores({"diversity": one, "mauve": other}, codes, [(1.0, 0.0), (0.0, 1.0)])


def test_what_is_kept_comes_back_and_equal_scores_are_equal_bytes(tmp_path: Path) -> None:
    data = to_bytes(scores())
    (tmp_path / SCORES).write_bytes(data)
    found = read_scores(tmp_path)
    assert to_bytes(found) == data == to_bytes(scores())
    rows = found.scores["diversity"].rows
    assert rows is not None
    np.testing.assert_array_equal(rows.values, [[1.0, 2.0], [math.nan, math.nan]])
    assert found.scores["diversity"].estimate.note == "é"
    assert math.isnan(found.scores["mauve"].estimate.value)
    assert found.codes is not None


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"{}", to_bytes(scores())[:-40], b"\0" * 5000])
def test_a_file_that_cannot_be_read_counts_as_absent(data: bytes, tmp_path: Path) -> None:
    assert read_scores(tmp_path) == ArmScores()
    (tmp_path / SCORES).write_bytes(data)
    assert read_scores(tmp_path).scores == {}


def test_scores_of_other_texts_are_marked_and_not_compared() -> None:
    found = scores()
    assert found.marked("texts")["diversity"].note == "é"
    assert found.marked("others")["diversity"].note == f"{STALE}; é"
    assert found.marked("others")["mauve"].note == STALE
    assert set(found.current("texts").scores) == {"diversity", "mauve"}
    assert found.current("others").scores == {}


def test_digests_tell_texts_and_means_apart() -> None:
    other = replace(TEXT, continuation="x z")
    assert texts_digest([TEXT, other]) == texts_digest([other, TEXT]) != texts_digest([TEXT])
    assert exact_digest([replace(TEXT, logprob_expert=-2.0)]) != exact_digest([TEXT])
    settings = Settings()
    made = recipe_digest("words", "t", {"scorer": "s"}, settings)
    assert made == recipe_digest("words", "t", {"scorer": "s"}, settings)
    others = [
        recipe_digest("tokens", "t", {"scorer": "s"}, settings),
        recipe_digest("words", "u", {"scorer": "s"}, settings),
        recipe_digest("words", "t", {"scorer": "r"}, settings),
        recipe_digest("words", "t", {"scorer": "s"}, settings._replace(seed=1)),
    ]
    assert len({made, *others}) == 5
    assert recipe_digest("words", "t", {"scorer": ""}, settings) == "", "what is not known is never reused"
