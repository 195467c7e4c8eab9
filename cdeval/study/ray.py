"""Units decoded by Ray workers: processes that each open the study's models once and then decode what they are given.

A worker opens the same settings as the driver and must come to the same weights, or it does not begin. It writes
nothing: texts go back to the driver, who alone holds the run folders. A unit that fails is tried again, and at last
text by text, to find the prompt that cannot be decoded; a unit is never changed while it can be decoded as it is, so
what is decoded together does not depend on the number of workers.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from cdeval.config.amateur import Amateur, amateur_of
from cdeval.config.enums import Dtype
from cdeval.config.methods import plugged_modules
from cdeval.config.plugins import load_plugins
from cdeval.config.points import Point
from cdeval.config.schema import AUTO, ExecutionConfig, RunConfig
from cdeval.decode.batches import decode
from cdeval.errors import ModelError, PointError, WorkerError
from cdeval.models.lens import TunedLens
from cdeval.models.loading import open_model
from cdeval.prompts.load import PromptSet
from cdeval.store.signals import Stop
from cdeval.study.executor import DecodedUnit, FailedPoint, FinishedUnit, LostText
from cdeval.study.models import StudyModels, load_together, open_models, with_lenses
from cdeval.study.ray_cluster import Workers
from cdeval.study.ray_pool import RayPool, ray_pool
from cdeval.study.units import Unit, UnitTexts, unit_texts

LOST_TEXTS = 3  # of a point; with so many, and fewer decoded, its setting cannot be decoded, and no prompt is to blame
DEATHS_A_WORKER = 10  # one after the other with nothing finished in between: no single unit can be to blame


@dataclass(frozen=True, slots=True)
class RayExecutor:
    """Decodes in Ray workers, which are started when decoding begins and ended with it (`executor.Executor`)."""

    workers: Workers
    execution: ExecutionConfig
    setup: Callable[[], Callable[[Unit], UnitTexts]]  # called in each worker
    say: Callable[[str], None]  # takes one line

    def decode(
        self, units: Iterable[Unit], stop: Stop, on_tokens: Callable[[int], None]
    ) -> Generator[FinishedUnit, None, None]:
        """Decode as `executor.Executor.decode` says; which worker decoded a unit leaves no trace."""
        lost: Counter[Point] = Counter()
        decoded: Counter[Point] = Counter()
        workers, tries = self.workers, self.execution.tries
        self.say(f"starting {workers.workers} Ray workers of {workers.threads} threads and {workers.gpus:g} GPUs")
        with ray_pool(workers, self.setup, self.execution, self.say) as pool:
            for unit, texts, problem in finish(pool, units, tries, stop, self.say):
                on_tokens(unit.tokens)
                if texts is not None:
                    decoded.update(text.point for text in unit.texts)
                    yield DecodedUnit(unit, texts)
                    continue
                (text,) = unit.texts
                lost[text.point] += 1
                if lost[text.point] < LOST_TEXTS or lost[text.point] < decoded[text.point]:
                    yield LostText(text, problem)
                else:
                    yield FailedPoint(unit, PointError(f"{problem} (with most prompts)"))


def ray_executor(
    execution: ExecutionConfig,
    configs: Sequence[RunConfig],
    models: StudyModels,
    prompts: PromptSet,
    say: Callable[[str], None],
) -> RayExecutor:
    """Make the executor that a configuration asks for; no worker is started yet.

    Args:
        execution: how many workers there are, and what each may use.
        configs: the settings that are decoded.
        models: the driver's, which theirs must equal; their number format is the driver's, too.
        prompts: that n-grams are not counted on.
        say: takes one line, of workers that do not answer and of units that are tried again.
    """
    dtype = Dtype(models.expert.dtype_name)
    pinned = [replace(config, expert=replace(config.expert, dtype=dtype)) for config in configs]
    amateurs = {amateur_of(config.amateur) for config in pinned}
    identities = {amateur: models.identity(amateur) for amateur in amateurs}
    setup = WorkerSetup(pinned, prompts, identities, models.linear_lenses, os.getcwd(), plugged_modules())
    return RayExecutor(workers_of(execution, models.expert.device), execution, setup, say)


def workers_of(execution: ExecutionConfig, device: torch.device) -> Workers:
    """Put numbers for `auto`: the cores of this machine are shared out, and each worker has a GPU if the expert has."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    auto_threads, auto_gpus = max(1, cores // execution.workers), float(device.type == "cuda")
    return Workers(
        workers=execution.workers,
        threads=auto_threads if execution.threads == AUTO else int(execution.threads),
        gpus=auto_gpus if execution.gpus == AUTO else float(execution.gpus),
        address=execution.address,
    )


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """Opens the driver's models in a worker."""

    configs: Sequence[RunConfig]  # of one expert
    prompts: PromptSet
    identities: Mapping[Amateur, str]  # of the driver's weights
    lenses: Mapping[
        Amateur, TunedLens
    ]  # that the driver fitted: no worker fits its own, which would differ by rounding
    folder: str  # the driver's: relative paths mean the same in a worker
    plugins: Sequence[str] = ()  # modules of the driver's methods that are not cdeval's

    def __call__(self) -> Callable[[Unit], UnitTexts]:
        """Open and load the models.

        Returns: decodes a unit. It raises ModelError if not even one lane fits in memory.

        Raises: CdevalError: as in the driver. ModelError: these are other weights.
        """
        with suppress(OSError):  # another machine may not have it, and need not where no path is relative
            os.chdir(self.folder)
        load_plugins(self.plugins)
        shared = open_model(self.configs[0].expert)
        opened = with_lenses([open_models(config, shared) for config in self.configs], self.lenses)
        models, broken = load_together(opened, self.prompts)
        if broken:
            raise next(iter(broken.values()))
        for amateur, identity in self.identities.items():
            if models.identity(amateur) != identity:
                raise ModelError(
                    f"{shared.name} and its amateurs have other weights here than where the command runs: give every "
                    "machine the same files."
                )

        def decode_unit(unit: Unit) -> UnitTexts:
            compact_every, amateur_models = unit.plan.compact_every, models.amateur_models
            batches = decode(
                models.expert,
                unit.lanes,
                amateur_models=amateur_models,
                max_lanes=unit.max_lanes,
                compact_every=compact_every,
                compiling=self.configs[0].execution.compile,
            )
            return unit_texts(unit, batches, models.expert)

        return decode_unit


class FinishedWork(NamedTuple):
    """A unit and its texts, or the reason why there are none after all tries of its smallest part."""

    unit: Unit
    texts: UnitTexts | None
    problem: str = ""  # on one line


class _Attempt(NamedTuple):
    unit: Unit
    tries: int  # that are left, this one included


def finish(
    pool: RayPool[Unit, UnitTexts], units: Iterable[Unit], tries: int, stop: Stop, say: Callable[[str], None]
) -> Iterator[FinishedWork]:
    """Hand out units to workers that may die, and yield each unit as it finishes.

    Args:
        pool: the workers.
        units: taken one by one as workers become idle, so there may be any number of them.
        tries: of each unit, at least 1, before it is taken apart text by text.
        stop: once it holds a signal, no unit is begun, and none again.
        say: takes one line when a unit is tried again or taken apart.

    Raises: WorkerError: workers die whatever they are given. What was yielded before stays valid.
    """
    fresh = iter(units)
    again: deque[_Attempt] = deque()
    running: dict[int, _Attempt] = {}
    idle = list(reversed(range(pool.size)))
    deaths = 0
    while True:
        while idle and stop.number is None:
            # What failed goes first: a machine that is lost for good is noticed before all else is done.
            attempt = again.popleft() if again else next((_Attempt(unit, tries) for unit in fresh), None)
            if attempt is None:
                break
            worker = idle.pop()
            running[worker] = attempt
            pool.give(worker, attempt.unit)
        if not running:
            return
        for report in pool.reports():
            attempt = running.pop(report.worker)
            idle.append(report.worker)
            if report.problem is None:
                deaths = 0
                yield FinishedWork(attempt.unit, report.answer)
                continue
            deaths += report.died
            if deaths > DEATHS_A_WORKER * pool.size:
                raise WorkerError(
                    f"{deaths} workers died one after the other and finished nothing; the last: {report.problem}. "
                    "Give them more memory (fewer execution.workers, or a lower execution.max_lanes) and run the same "
                    "command again: everything finished is stored."
                )
            parts = attempt.unit.by_text()
            if attempt.tries > 1:
                say(f"trying again: {report.problem}")
                again.append(_Attempt(attempt.unit, attempt.tries - 1))
            elif len(parts) > 1:
                say(f"failed {tries} times, going on with its {len(parts)} parts one by one: {report.problem}")
                again.extend(_Attempt(part, tries) for part in parts)
            else:
                yield FinishedWork(attempt.unit, None, report.problem)
