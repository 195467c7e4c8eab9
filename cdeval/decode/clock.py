"""The times at which the steps of a batch were over, without waiting for the device in between.

On a GPU a step is over when the GPU says so: events are put into its queue and read once the last step is done. A wall
clock beside them, started and stopped when the device has nothing left to do, says whether the events saw everything.
"""

import time

import torch


class Clock:
    """Marks the end of every step; times are read at the end.

    Args:
        device: where the steps run. A clock starts when it is made.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._started = now(device)
        self._marks: list[float] = []
        self._events: list[torch.cuda.Event] = []
        if device.type == "cuda":
            self._record()

    def mark(self) -> None:
        """A step is over: on a GPU once it comes to this in its queue, elsewhere now."""
        if self._device.type == "cuda":
            self._record()
        else:
            self._marks.append(now(self._device))

    def read(self) -> tuple[tuple[float, ...], float]:
        """Seconds from each mark to the next, the first from the start; and the wall clock's in all, until now."""
        ended = now(self._device)
        if self._events:
            pairs = zip(self._events, self._events[1:], strict=False)
            return tuple(before.elapsed_time(after) / 1e3 for before, after in pairs), ended - self._started
        times = [self._started, *self._marks]
        return tuple(after - before for before, after in zip(times, self._marks, strict=False)), ended - self._started

    def _record(self) -> None:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        self._events.append(event)


def now(device: torch.device) -> float:
    """Seconds, once the device has finished what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
