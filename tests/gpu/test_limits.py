"""The rates that the bench measures of a GPU are those of a GPU: starting a pass and waiting for it are no part."""

import pytest
import torch

from cdeval.cost.bandwidth import measure_bandwidth, measure_products
from tests.gpu.conftest import here


@pytest.mark.gpu
def test_a_gpus_rates_lie_where_cards_have_them() -> None:
    """From a small card to the largest; a product that takes microseconds would be found ten times slower."""
    device = here("cuda").device
    bandwidth = measure_bandwidth(device)
    assert bandwidth.tensor_bytes > 1 << 29
    assert 1e11 < bandwidth.read < 2e13, "[bytes/s]"
    wide, narrow = (measure_products(device, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert 3e12 < wide < narrow < 1e16, "[FLOP/s]: tensor cores are for the narrow format"
