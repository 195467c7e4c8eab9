"""The numbers of docs/scaling.md: shapes that are the published models', and a driver that forgets what it stored."""

from pathlib import Path

import pytest

from scripts.driver import LANES, simulate
from scripts.scaling import EXPERTS, Need, need


def test_models_on_paper_have_the_published_sizes() -> None:
    """A misspelt field of a Hugging Face configuration is silently the default's 124 million."""
    # A lane of 5 beams reads 32 + 1275 tokens, at 2 FLOPs a weight; attention adds a little.
    for name, weights in (("gpt2-medium", 355e6), ("gpt2-large", 774e6), ("gpt2-xl", 1.56e9), ("opt-6.7b", 6.66e9)):
        dense = 2 * weights * (32 + 5 * 255)
        assert 1.0 < need(EXPERTS[name]).text_flops / dense < 1.2, name
    assert Need(1.0, 989e12 * 3600).gpu_hours(0.5) == 2.0


def test_the_imaginary_study_is_stored_as_a_real_one(tmp_path: Path) -> None:
    found = simulate(LANES, 3, tmp_path / "study")
    assert found.texts == 3 * LANES
    assert found.stored_bytes > found.texts * 1000


@pytest.mark.slow  # some seconds; memory of fewer texts drowns in the allocator's noise
def test_storing_texts_takes_no_memory(tmp_path: Path) -> None:
    """A driver that keeps what it stored holds every text of the study: it grows by their size."""
    found = simulate(20_000, 1, tmp_path / "study")
    assert found.growth_bytes < found.stored_bytes / 10
