"""Between two compactions the host waits for nothing, and the clock sees what the device did all the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedTokenizerFast

from cdeval.config.enums import Ban
from cdeval.cost.energy import open_counter
from cdeval.decode.clock import Clock, now
from cdeval.decode.engine import _Run
from tests.decode.test_device import KINDS, MIXED, RULED_KINDS, SENDING, begin, wrapped
from tests.gpu.conftest import Place, here

READING = {
    torch.ops.aten.item,
    torch.ops.aten._local_scalar_dense,
    torch.ops.aten.is_nonzero,
    torch.ops.aten.nonzero,
    torch.ops.aten.masked_select,
    torch.ops.aten.equal,
}


class Waits(TorchDispatchMode):
    """Raises on the CPU where a GPU's host would wait: where a value is read, or a number sent."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in SENDING or func.overloadpacket in READING:
            raise RuntimeError(f"called a synchronizing operation: {func}")
        return func(*args, **(kwargs or {}))


@contextmanager
def nothing_to_wait_for(device: torch.device) -> Iterator[None]:
    """Let whatever the host would have to wait for raise an exception."""
    if device.type != "cuda":
        with Waits():
            yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "kind", [pytest.param(one, marks=pytest.mark.nightly) if one in RULED_KINDS else one for one in KINDS]
)
def test_the_host_waits_for_nothing_in_a_step(place: Place, kind: str, tokenizer: PreTrainedTokenizerFast) -> None:
    def steps(run: _Run) -> None:
        run.step()  # what is made once is made here
        with nothing_to_wait_for(place.device):
            run.step()
            run.step()

    lm = wrapped("llama" if kind == "full" else "gpt2", tokenizer, place.device.type)
    for ban in (Ban.special, Ban.none):
        begin(lm, [replace(how, ban=ban) for how in KINDS[kind]], steps)


def test_it_waits_in_a_compaction(place: Place, tokenizer: PreTrainedTokenizerFast) -> None:
    """And the test above can fail."""

    def with_compaction(run: _Run) -> None:
        run.step()
        with nothing_to_wait_for(place.device):
            run.compact()

    with pytest.raises(RuntimeError, match="synchroniz"):
        begin(wrapped("llama", tokenizer, place.device.type), MIXED, with_compaction)


def work(device: torch.device) -> Callable[[], None]:
    """Some tens of milliseconds of products, given to the device and not waited for."""
    width, times = (4096, 20) if device.type == "cuda" else (512, 20)
    left = torch.randn(width, width, device=device)

    def multiply() -> None:
        for _ in range(times):
            left @ left

    multiply()
    return multiply


def test_the_clock_waits_for_what_was_given_to_the_device(place: Place) -> None:
    """A clock that stops when the host is done would find a GPU hundreds of times faster than it is."""
    multiply = work(place.device)
    alone = []
    for _ in range(3):
        started = now(place.device)
        multiply()
        alone.append(now(place.device) - started)
    clock = Clock(place.device)
    for _ in range(4):
        multiply()
        clock.mark()
    steps, wall = clock.read()
    assert len(steps) == 4
    assert sum(steps) == pytest.approx(wall, rel=0.1, abs=0.005), "the marks see what the wall clock sees"
    assert sum(steps) > 4 * min(alone) / 2


@pytest.mark.gpu
def test_a_gpus_counter_of_energy_rises_with_its_work() -> None:
    device = here("cuda").device
    counter = open_counter(device)
    if counter is None:
        pytest.skip("there is no counter that this user may read: pip install nvidia-ml-py")
    multiply = work(device)
    before, started = counter.joules(), now(device)
    while now(device) - started < 1.0:
        multiply()
    assert 5 < counter.joules() - before < 2000, "[J] in about a second"
