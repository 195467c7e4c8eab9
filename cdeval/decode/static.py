"""A step that is one program: compiled by torch, and replayed by a GPU as one graph (`execution.compile`).

At one prompt a GPU spends a step on the host's launching some thousands of small operators, not on arithmetic. So a
step must be the same program every time: tensors keep their shapes and places, and nothing is read back.

    the host:     makes room in the caches, counts, compacts                    between two steps
    the program:  reads the last tokens, scores, chooses, re-orders, notes      the engine's own code, traced

The code is the engine's: it makes new tensors for what changes, as ever. Here the step ends by copying these to where
the state lay before (`Stateful.state` names them), so that the next step finds everything in its place. Keys, values,
masks and back-pointers are written in place by a number that lies on the device.

A program is made for every bucket of the caches (`cdeval.decode.fixed_cache`), and serves all later batches whose lanes
have the same shape and the same kinds of settings; numbers such as α and β are data.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from cdeval.config.compiling import SETTING, cannot_compile, obstacle
from cdeval.config.enums import Compile
from cdeval.config.setting import Setting
from cdeval.decode.fixed_cache import FixedLaneCache, fit
from cdeval.errors import ModelError, one_line
from cdeval.models.anatomy import asks_for_positions
from cdeval.models.loading import LanguageModel

BACKEND: str | Callable[..., Any] = "inductor"  # of torch.compile
# Programs of one process; torch gives up after 8, which one study of several arms and lengths may need.
PROGRAMS = 1024


@runtime_checkable
class Stateful(Protocol):
    """An object whose tensors change at every step."""

    @property
    def state(self) -> tuple[str, ...]:
        """The names of the attributes; one that is a number becomes a tensor of the device."""


@runtime_checkable
class SteppedRun(Protocol):
    """A run whose next step can be taken."""

    @property
    def caches(self) -> Sequence[FixedLaneCache]:
        """All its caches."""

    def holders(self) -> Iterable[Stateful]:
        """List all whose state a step changes."""

    def step(self) -> None:
        """Take a step; this is what is compiled."""


# An object, the name of its attribute, and where its tensor always lies.
Place: TypeAlias = tuple[Stateful, str, Tensor]


class StaticStep:
    """The next step of a run, taken by one program."""

    def __init__(self, run: SteppedRun, wanted: Compile) -> None:
        """Put the state in its place, once the first tokens are chosen; `wanted` says what a failure means."""
        self._run, self._wanted, self._caches = run, wanted, run.caches
        device = self._caches[0].device
        self._places = [place for holder in run.holders() for place in _placed(holder, device)]
        self._program: Callable[[SteppedRun, list[Place]], None] = _compiled(BACKEND)
        self._replay, self._capacity = Replay(device), self._caches[0].capacity

    def __call__(self) -> None:
        """Take a step. Raises: ModelError: torch cannot compile it, and nothing else will do."""
        fit(self._caches)
        if self._capacity != self._caches[0].capacity:  # other tensors than those of the graph
            self._capacity, self._replay = self._caches[0].capacity, Replay(self._caches[0].device)
        try:
            with torch._dynamo.config.patch(recompile_limit=PROGRAMS, accumulated_recompile_limit=PROGRAMS):
                self._replay(lambda: self._program(self._run, self._places))
        except TorchDynamoException as error:  # before anything has run
            if self._wanted is Compile.always:
                raise ModelError(
                    f"{SETTING}=always: torch cannot compile a step: {one_line(error)}. Set {SETTING}=never."
                ) from error
            message = f"torch cannot compile a step, which runs uncompiled: {one_line(error)}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            self._program = _step
            self._program(self._run, self._places)
        for one in self._caches:
            one.take()


class Replay:
    """Runs a program; a GPU records it as one graph, which then needs no host.

    The first call runs on a side stream, where whatever is made once is made (kernels are chosen and loaded). The
    second call records, which runs nothing, and replays; so do all later ones. Every tensor that the program reads or
    writes must lie where it lay before.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._calls = device, 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._records = True  # until something of a step could not be recorded

    def __call__(self, program: Callable[[], None]) -> None:
        """Run it once; a program that cannot be recorded runs from the host, and a warning says so."""
        self._calls += 1
        if self._device.type != "cuda":
            program()
            return
        if self._calls == 1:
            here, side = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            side.wait_stream(here)
            with torch.cuda.stream(side):
                program()
            here.wait_stream(side)
            return
        if self._graph is None and self._records:
            self._graph = self._recorded(program)
        if self._graph is None:
            program()
        else:
            self._graph.replay()

    def _recorded(self, program: Callable[[], None]) -> torch.cuda.CUDAGraph | None:
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads of this process may ask the device for memory meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                program()
        except torch.OutOfMemoryError:  # fewer lanes may fit
            raise
        except RuntimeError as error:  # while recording nothing runs, so that nothing is lost
            self._records = False
            message = f"the GPU cannot record a step, which is started operator by operator: {one_line(error)}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            return None
        return graph


def _step(run: SteppedRun, places: list[Place]) -> None:
    """Take a step, and put what it has made where it was."""
    run.step()
    for holder, name, place in places:
        place.copy_(getattr(holder, name))
        setattr(holder, name, place)


@cache
def _compiled(backend: str | Callable[..., Any]) -> Callable[[SteppedRun, list[Place]], None]:
    compiled: Callable[[SteppedRun, list[Place]], None] = torch.compile(
        _step, backend=backend, fullgraph=True, dynamic=False
    )
    return compiled


def _placed(holder: Stateful, device: torch.device) -> Iterator[Place]:
    """Move the state of an object to where it stays."""
    for name in holder.state:
        value = getattr(holder, name)
        place = torch.tensor([value], device=device) if isinstance(value, int) else value.clone()
        setattr(holder, name, place)
        yield holder, name, place


def compiles(
    wanted: Compile,
    expert: LanguageModel,
    settings: Sequence[Setting],
    models: Iterable[LanguageModel] = (),
    read_by: str = "",
) -> bool:
    """Whether the steps of a batch are compiled.

    Args:
        wanted: by the user; auto: on a GPU.
        expert: the model.
        settings: of the lanes.
        models: that read along.
        read_by: who reads every step on the host, if somebody does.

    Raises: ConfigError: they are to be, and cannot.
    """
    if wanted is Compile.never or (wanted is Compile.auto and expert.device.type != "cuda"):
        return False
    why = f"{read_by} reads every step on the host" if read_by else ""
    for one in settings:
        why = why or obstacle(one.search, one.amateur.kind, one.plausibility.rule, gated=bool(one.token_weight.call))
    if any(asks_for_positions(lm.model.config) for lm in (expert, *models)):
        why = why or "rope scaling of type dynamic asks at every step how long the text is"
    if why and wanted is Compile.always:
        raise cannot_compile(why)
    return not why
