"""Timing of arms in a process of their own, which has loaded the models and does nothing else.

The process that makes and scores the texts holds other models, caches and an allocator's leftovers, and has warmed
other kernels: none of that belongs to an arm. Configurations and settings are sent over; the other process reads the
weights itself.
"""

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

import torch

from cdeval.config.enums import Compile
from cdeval.config.setting import Setting
from cdeval.cost.bandwidth import measure_bandwidth
from cdeval.cost.latency import measure
from cdeval.cost.price import NOT_TIMED, Timed
from cdeval.errors import ModelError
from cdeval.prompts.load import PromptSet
from cdeval.study.models import OpenedModels, StudyModels, load_together
from cdeval.study.parent_watch import end_with_parent, tell

_HEARING = 0.5  # seconds between two looks at whether the fresh process has ended
FRESH: Final = "spawn"  # how the process begins: a fork of this one would inherit the threads' locks and all memory


@dataclass(frozen=True, slots=True)
class Timing:
    """Arms that are to be timed in turn, and how."""

    opened: tuple[OpenedModels, ...]  # all models of the arms
    prompts: PromptSet
    arms: Mapping[str, Setting]  # by label; each is timed on the same prompts in turn
    repeats: int  # timed passes an arm
    compact_every: int
    threads: int  # of the processor
    compiling: Compile = Compile.auto


def passes(timing: Timing) -> int:
    """Count the passes that timing takes, each arm's warm-up included."""
    return len(timing.arms) * (timing.repeats + 1)


def time_here(models: StudyModels, timing: Timing, passed: Callable[[], None]) -> Timed:
    """Time the arms with models that are loaded already; `passed` is called after each pass."""
    latency = measure(
        models.expert,
        timing.arms,
        timing.prompts.prompts,
        timing.repeats,
        timing.compact_every,
        models.amateur_models,
        compiling=timing.compiling,
        passed=passed,
    )
    return Timed(latency, measure_bandwidth(models.expert.device).read) if timing.repeats else NOT_TIMED


def time_loaded(timing: Timing, passed: Callable[[], None]) -> Timed:
    """Read the weights, and time the arms. Raises: CdevalError: some cannot be read, or fit no memory."""
    torch.set_num_threads(timing.threads)
    models, failures = load_together(timing.opened, timing.prompts)
    for failure in failures.values():
        raise failure
    return time_here(models, timing, passed)


def time_apart(
    timing: Timing,
    work: Callable[[Timing, Callable[[], None]], Timed] = time_loaded,
    passed: Callable[[], None] = lambda: None,
) -> Timed:
    """Time the arms in a fresh process; `work` does so there. The process ends with this function, and with its parent.

    Args:
        timing: which arms, and how.
        work: is done in the fresh process, which tells of each pass.
        passed: called here after each pass there.

    Raises: CdevalError: what the process found wrong. ModelError: it died, for want of memory perhaps. Any other
        exception: a bug, with the process's own traceback as its cause.
    """
    context = multiprocessing.get_context(FRESH)
    end, held = context.Pipe(duplex=False)
    heard, tells = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent, initargs=(end, tells))
    try:
        return _result(pool.submit(work, timing, tell), heard, passed)
    except BrokenProcessPool as error:
        raise ModelError(
            "the process that timed the arms ended before it was done: for want of memory, perhaps. The texts "
            "are stored. Set cost.isolated=false (models are loaded once), or cost.latency_repeats=0 to leave "
            "the timing out."
        ) from error
    finally:
        held.close()
        pool.shutdown()
        for one in (end, heard, tells):
            one.close()


def _result(future: "Future[Timed]", heard: Connection, passed: Callable[[], None]) -> Timed:
    """Wait for the result, and pass on what is heard of passes meanwhile."""
    done = False
    while not done or heard.poll():
        if heard.poll(0 if done else _HEARING):
            heard.recv()
            passed()
        done = future.done()
    return future.result()
