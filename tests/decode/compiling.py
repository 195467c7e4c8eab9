"""What the tests of compiled steps share: a backend that counts, a replay without a GPU, the comparison with eager.

The backend `aot_eager` traces a step as every backend does and runs torch's own operators: it needs no compiler. With
`fullgraph=True` torch raises where a graph would break, as at any value that is read back.

A GPU replays the operators of one recorded step on the tensors that they had, and none of the engine's Python. So does
`Recording` on the CPU: what a step keeps anywhere else than in the storage that the next one reads is lost.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import jaxtyping
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cdeval.config.amateur import Amateur
from cdeval.config.enums import Compile
from cdeval.decode import fixed_cache, static
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.engine import decode_batch
from cdeval.decode.lanes import Continuation, Lane
from cdeval.models.loading import LanguageModel
from tests.decode.test_device import SENDING
from tests.gpu.test_steps import READING

BUCKET = 32  # slots: a text of a dozen tokens by four beams enters two


class _Operators(TorchDispatchMode):
    """Keeps every operator that is called, with its tensors; raises where a GPU's host would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in SENDING or func.overloadpacket in READING:
            raise RuntimeError(f"called a synchronizing operation: {func}")
        made = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, made))
        return made


class Recording(static.Replay):
    """Stands in for a GPU's graph: the second call records the operators, later ones run these and nothing else."""

    replayed = 0  # steps, of all runs

    def __call__(self, program: Callable[[], None]) -> None:
        self._calls += 1
        if self._calls == 1:
            program()
        elif self._calls == 2:
            with _Operators() as self._operators:
                program()
        else:
            Recording.replayed += 1
            for func, args, options, made in self._operators.calls:
                for new, place in zip(tree_leaves(func(*args, **options)), tree_leaves(made), strict=True):
                    if isinstance(new, torch.Tensor) and new.data_ptr() != place.data_ptr():
                        place.copy_(new)  # a graph's intermediate tensors have their places, too


@contextmanager
def recording() -> Iterator[None]:
    """Record and replay steps, uncompiled, in buckets that a short text fills."""
    with (
        patch.object(static, "Replay", Recording),
        patch.object(static, "_compiled", lambda _backend: static._step),
        patch.object(fixed_cache, "BUCKET", BUCKET),
    ):
        yield


class Counted:
    """The programs that torch has made, and the buckets that runs have entered."""

    def __init__(self, backend: str = "aot_eager") -> None:
        self.backend = CompileCounterWithBackend(backend)
        self.buckets: list[int] = []  # in the order in which they were entered, by all runs

    @property
    def programs(self) -> int:
        """Programs made so far."""
        return int(self.backend.frame_count)

    @property
    def breaks(self) -> int:
        """Graph breaks so far."""
        return sum(counters["graph_break"].values())


@contextmanager
def counting() -> Iterator[Counted]:
    """Compile by a backend that counts, in buckets that a short text fills."""
    counted, call = Counted(), static.StaticStep.__call__

    def noted(step: static.StaticStep) -> None:
        call(step)
        (capacity,) = {cache.capacity for cache in step._run.caches}
        if step._replay._calls == 1:  # the first step in this bucket
            counted.buckets.append(capacity)

    torch._dynamo.reset()
    counters.clear()
    was = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)  # torch does not trace the checks of annotated shapes
    try:
        with (
            patch.object(static, "BACKEND", counted.backend),
            patch.object(fixed_cache, "BUCKET", BUCKET),
            patch.object(static.StaticStep, "__call__", noted),
        ):
            yield counted
    finally:
        jaxtyping.config.update("jaxtyping_disable", was)
        torch._dynamo.reset()  # what was compiled is nobody's


def both(
    lm: LanguageModel, lanes: Sequence[Lane], models: Mapping[Amateur, AmateurModel], compact_every: int = 4
) -> tuple[list[Continuation], list[Continuation]]:
    """The eager engine's texts, and those of compiled steps."""
    eager, compiled = (
        decode_batch(lm, lanes, compact_every, amateur_models=models, compiling=how)[0]
        for how in (Compile.never, Compile.always)
    )
    return eager, compiled


def check_equal(eager: Sequence[Continuation], compiled: Sequence[Continuation]) -> None:
    """Compare texts: token for token, scores but for rounding."""
    for name in ("token_ids", "ended", "end_token", "exit_layers", "fault"):
        assert [getattr(one, name) for one in compiled] == [getattr(one, name) for one in eager], name
    for name in ("score", "logprob_expert"):
        wanted = [getattr(one, name) for one in eager]
        assert [getattr(one, name) for one in compiled] == pytest.approx(wanted, abs=1e-3), name
