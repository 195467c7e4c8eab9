"""A profile of one step: one pass under torch's profiler, its time by kind of operator.

The profiler slows every operator by some microseconds, so what is made of many small ones looks larger than it is: read
the shares as an order, not as a measurement.
"""

import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

# Kind -> how its operators' names begin. The first kind that fits has the operator.
_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("products with weights", ("mkldnn::_linear", "aten::mm", "aten::addmm", "aten::mkldnn_linear", "aten::linear")),
    ("attention", ("aten::_scaled_dot", "aten::scaled_dot", "aten::_flash", "aten::bmm", "aten::baddbmm")),
    ("scores and choice", ("aten::topk", "aten::_log_softmax", "aten::log_softmax", "aten::amax", "aten::sort")),
    ("moving data", ("aten::cat", "aten::copy_", "aten::index", "aten::gather", "aten::clone", "aten::masked_fill")),
)
_OTHER, _BETWEEN = "other operators", "between operators"


def where_time_goes(run: Callable[[int], object], tokens: int) -> dict[str, float]:
    """Share of the wall clock by kind of operator, largest first; they sum to 1.

    Args:
        run: decodes that many tokens; has been run before, so that nothing is paid for the first time.
        tokens: of the pass.
    """
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        started = time.perf_counter()
        run(tokens)
        wall = time.perf_counter() - started
    shares = dict.fromkeys([*(kind for kind, _ in _KINDS), _OTHER], 0.0)
    for event in seen.key_averages():
        shares[_kind(event.key)] += event.self_cpu_time_total / 1e6 / wall
    shares[_BETWEEN] = max(0.0, 1.0 - sum(shares.values()))
    total = sum(shares.values())
    return {kind: share / total for kind, share in sorted(shares.items(), key=lambda item: -item[1])}


def describe(shares: dict[str, float]) -> str:
    """One line for the screen."""
    parts = ", ".join(f"{share:.0%} {kind}" for kind, share in shares.items())
    return f"a step of one prompt, profiled: {parts}"


def _kind(operator: str) -> str:
    return next((kind for kind, starts in _KINDS if operator.startswith(starts)), _OTHER)


def supported(device: torch.device) -> bool:
    """Whether a profile means something: on other devices than CPUs the operators only queue the work."""
    return device.type == "cpu"
