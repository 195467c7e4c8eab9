"""Where a step's time goes."""

import time

import pytest
import torch

from cdeval.bench.profile import where_time_goes


def test_time_is_told_by_what_took_it() -> None:
    """Products are products; a pause of the host is nobody's operator; nothing counts twice."""
    left, right = torch.randn(400, 400), torch.randn(400, 400)

    def run(tokens: int) -> None:
        for _ in range(tokens):
            left @ right
        started = time.perf_counter()
        while time.perf_counter() - started < 0.2:
            pass

    run(3)
    shares = where_time_goes(run, 3)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["products with weights"] > 0
    assert shares["scores and choice"] == 0
    assert next(iter(shares)) == "between operators"
