import sys

import numpy as np
import pytest

from cdeval.config.enums import Codebook
from cdeval.metrics.codebook import bucket_count, published_scores, unavailable
from tests.metrics.test_codebook import EVEN, UNEVEN, clusters

SEEDS = range(3)


def test_mauve_text_is_called_once_a_seed():
    human, other = clusters(0, EVEN), clusters(1, UNEVEN)
    together = published_scores(human, other, 10, SEEDS)
    assert together == [published_scores(human, other, 10, [seed])[0] for seed in SEEDS]
    assert len(set(together)) > 1


def test_identical_samples_score_one():
    """mauve-text integrates the single point of equal histograms to 0.75 or the like."""
    human = clusters(0, EVEN)
    for features in (human, np.ones((4, 8))):
        assert {tuple(score) for score in published_scores(features, features, 4, SEEDS)} == {(1.0, 1.0, 0.0)}


def test_clusters_as_published():
    assert [bucket_count(texts) for texts in (2, 25, 100, 1293)] == [2, 2, 10, 129]


@pytest.mark.parametrize(
    ("codebook", "library"),
    [(Codebook.shared, "faiss"), (Codebook.shared, "sklearn"), (Codebook.pairwise, "mauve")],
)
def test_missing_library_is_said(codebook: Codebook, library: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, library, None)
    assert "pip install 'cdeval[mauve]'" in unavailable(codebook)


def test_the_shared_codebook_needs_nothing_under_the_gpl(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mauve", None)
    assert not unavailable(Codebook.shared)
