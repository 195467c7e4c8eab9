"""What a GPU that cannot record a step does, without one: torch's own recording is stood in for."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from cdeval.decode.static import Replay


def replay(error: RuntimeError, monkeypatch: pytest.MonkeyPatch) -> Replay:
    """A replay whose first step was taken, on a GPU on which recording fails."""

    @contextmanager
    def fails(_graph: object, **_how: object) -> Iterator[None]:
        yield
        raise error

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", fails)
    found = Replay(torch.device("cuda"))
    found._calls = 1
    return found


def test_a_step_that_cannot_be_recorded_runs_from_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with a warning, then without another try."""
    steps = replay(RuntimeError("operation not permitted when stream is capturing"), monkeypatch)
    ran: list[int] = []
    with pytest.warns(RuntimeWarning, match="cannot record a step, which is started operator by operator: operation"):
        steps(lambda: ran.append(1))
    assert ran == [1, 1], "while recording, where nothing runs on the GPU, and from the host"
    steps(lambda: ran.append(2))
    assert ran == [1, 1, 2]


def test_memory_that_runs_out_while_recording_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever decodes then takes fewer lanes at once."""
    steps = replay(torch.OutOfMemoryError("out of memory"), monkeypatch)
    with pytest.raises(torch.OutOfMemoryError):
        steps(lambda: None)
