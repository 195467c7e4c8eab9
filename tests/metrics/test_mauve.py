import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from cdeval.metrics import mauve as module
from cdeval.metrics.mauve import bucket_count, last_hidden_features, mauve_score, unavailable
from cdeval.models.loading import LanguageModel

SEEDS = range(3)


def clusters(seed: int, weights: tuple[float, ...], texts: int = 100) -> np.ndarray:
    """Features around four far centres, chosen with the given weights."""
    rng = np.random.default_rng(seed)
    centres = 10 * np.eye(4, 8)
    return (centres[rng.choice(4, size=texts, p=weights)] + rng.normal(size=(texts, 8))).astype(np.float32)


EVEN, UNEVEN, ELSEWHERE = (0.25, 0.25, 0.25, 0.25), (0.55, 0.25, 0.15, 0.05), (0.0, 0.0, 0.0, 1.0)


def test_closer_distributions_score_higher():
    human = clusters(0, EVEN)
    same, near, far = (mauve_score(human, clusters(1, w), SEEDS, 0.95).value for w in (EVEN, UNEVEN, ELSEWHERE))
    assert same > 0.9
    assert same > near + 0.05
    assert near > far + 0.2


def test_identical_samples_score_one():
    """mauve-text integrates the single point of equal histograms to 0.75 or the like."""
    human = clusters(0, EVEN)
    assert mauve_score(human, human, SEEDS, 0.95).value == 1.0
    assert mauve_score(np.ones((4, 8)), np.ones((4, 8)), SEEDS, 0.95).value == 1.0


def test_value_is_the_mean_over_seeds_and_the_interval_holds_it():
    human, other = clusters(0, EVEN), clusters(1, UNEVEN)
    singles = [mauve_score(human, other, [seed], 0.95) for seed in SEEDS]
    together = mauve_score(human, other, SEEDS, 0.95)
    assert together.value == pytest.approx(np.mean([single.value for single in singles]))
    assert together.seed_sd == pytest.approx(np.std([single.value for single in singles], ddof=1))
    assert math.isnan(singles[0].seed_sd)
    assert 0 <= together.interval.low < together.value < together.interval.high <= 1
    wider, narrower = (mauve_score(human, other, SEEDS, level).interval for level in (0.99, 0.5))
    assert wider.low < narrower.low


def test_interval_is_as_wide_as_the_spread_over_new_texts():
    """One sd claimed from half-samples, against the sd over fresh samples of 100 texts.

    Unpaired halves, or eighths, claim 0.7 of it.
    """
    few_kinds = (0.7, 0.2, 0.07, 0.03)
    scores = [mauve_score(clusters(2 * i, EVEN), clusters(2 * i + 1, few_kinds), [0], 0.6827) for i in range(40)]
    claimed = np.mean([score.value - score.interval.low for score in scores])
    assert 0.8 < claimed / np.std([score.value for score in scores], ddof=1) < 1.25


def test_same_seed_same_score_and_no_global_generator_moves():
    human, other = clusters(0, EVEN), clusters(1, UNEVEN)
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    assert mauve_score(human, other, SEEDS, 0.95) == mauve_score(human, other, SEEDS, 0.95)
    np.testing.assert_array_equal(numpy_before, np.random.get_state()[1])
    assert torch.equal(torch_before, torch.get_rng_state())


def test_faiss_is_silent_and_others_are_not():
    """File descriptor 2 itself, which Python's redirection does not reach, comes back after the call."""
    code = (
        "import os, numpy as np; from cdeval.metrics.mauve import mauve_score; "
        "mauve_score(np.eye(8), np.eye(8)[::-1] * 2 + 1, range(2), 0.95); os.write(2, b'alive')"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=True, timeout=120)
    assert done.stderr == b"alive"
    assert done.stdout == b""


def test_stderr_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(ZeroDivisionError), module._silence():
        _ = 1 / 0
    print("still here", file=sys.stderr)  # noqa: T201
    assert "still here" in capfd.readouterr().err


def test_clusters_as_published():
    assert [bucket_count(texts) for texts in (2, 25, 100, 1293)] == [2, 2, 10, 129]
    assert mauve_score(clusters(0, EVEN, 60), clusters(1, EVEN, 60), [0], 0.95).buckets == 6


def test_few_texts_have_no_interval():
    score = mauve_score(clusters(0, EVEN, 10), clusters(1, EVEN, 10), SEEDS, 0.95)
    assert 0 < score.value <= 1
    assert math.isnan(score.interval.low)
    assert math.isnan(score.interval.high)


@pytest.mark.parametrize("sizes", [(10, 9), (1, 1), (0, 0)])
def test_unequal_or_too_small_samples_are_refused(sizes: tuple[int, int]):
    with pytest.raises(ValueError, match="two equal samples"):
        mauve_score(clusters(0, EVEN, sizes[0]), clusters(1, EVEN, sizes[1]), SEEDS, 0.95)


def test_missing_library_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mauve", None)
    assert "pip install mauve-text" in unavailable()


def test_features_are_the_normed_state_at_the_last_token(any_tiny: LanguageModel):
    """The head on top of the features gives the model's own next-token logits: neither the raw block nor a pad."""
    texts = [(5, 6, 7), (8,), (9, 10, 11)]
    features = torch.from_numpy(last_hidden_features(any_tiny, texts))
    for row, text in zip(features, texts, strict=True):
        with torch.no_grad():
            hidden = any_tiny.model.base_model(torch.tensor([text])).last_hidden_state[0, -1]
            logits = any_tiny.model(torch.tensor([text])).logits[0, -1]
            from_row = any_tiny.model.get_output_embeddings()(row)
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
