"""The features that MAUVE clusters."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from cdeval.metrics.judges import hidden_states as module
from cdeval.metrics.judges.hidden_states import last_hidden_features
from cdeval.models.loading import LanguageModel


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
