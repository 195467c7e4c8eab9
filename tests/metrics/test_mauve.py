import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from cdeval.config.enums import Codebook
from cdeval.metrics import mauve_parts as module
from cdeval.metrics.mauve_parts import bucket_count, last_hidden_features, published_scores, unavailable
from cdeval.models.loading import LanguageModel
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
    assert "pip install mauve-text" in unavailable(codebook)


def test_the_shared_codebook_needs_nothing_under_the_gpl(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mauve", None)
    assert not unavailable(Codebook.shared)


def test_features_are_the_normed_state_at_the_last_token(every_tiny: LanguageModel):
    """The head on top of the features gives the model's own next-token logits: neither the raw block nor a pad."""
    texts = [(5, 6, 7), (8,), (9, 10, 11)]
    features = torch.from_numpy(last_hidden_features(every_tiny, texts))
    for row, text in zip(features, texts, strict=True):
        with torch.no_grad():
            hidden = every_tiny.model.base_model(torch.tensor([text])).last_hidden_state[0, -1]
            logits = every_tiny.model(torch.tensor([text])).logits[0, -1]
            from_row = every_tiny.model.get_output_embeddings()(row)
        torch.testing.assert_close(row, hidden, rtol=1e-4, atol=1e-5)
        assert from_row.argmax() == logits.argmax()


def test_features_do_not_depend_on_company(tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch):
    texts = [(5, 6, 7), (8,), (9, 10, 11), (5, 6, 8), (2, 3)]
    together = last_hidden_features(tiny("llama"), texts)
    monkeypatch.setattr(module, "_TOKENS_AT_ONCE", 1)
    alone = last_hidden_features(tiny("llama"), texts[::-1])[::-1]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
    assert together.dtype == np.float32


def test_features_of_nothing_are_refused(tiny: Callable[[str], LanguageModel]):
    with pytest.raises(ValueError, match="without tokens"):
        last_hidden_features(tiny("gpt2"), [(5,), ()])
