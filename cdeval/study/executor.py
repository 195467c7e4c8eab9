"""Executors decode the units of a study: this process or Ray workers (`cdeval.study.ray`), alike for their caller."""

from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple, Protocol, TypeAlias

from cdeval.config.enums import Compile
from cdeval.decode.batches import decode
from cdeval.store.signals import Stop
from cdeval.study.models import StudyModels
from cdeval.study.ray_cluster import Workers
from cdeval.study.units import TextTask, Unit, UnitTexts, unit_texts


class DecodedUnit(NamedTuple):
    """A unit with its texts."""

    unit: Unit
    texts: UnitTexts


class FailedPoint(NamedTuple):
    """A unit of one point that cannot be decoded: the whole point is given up."""

    unit: Unit
    error: Exception


class LostText(NamedTuple):
    """A text that cannot be decoded; the rest of its point can."""

    text: TextTask
    problem: str  # on one line


FinishedUnit: TypeAlias = DecodedUnit | FailedPoint | LostText


class Executor(Protocol):
    """Decodes units, wherever that happens."""

    @property
    def workers(self) -> Workers | None:
        """The worker processes, for the record; None: this process decodes."""

    def decode(
        self, units: Iterable[Unit], stop: Stop, on_tokens: Callable[[int], None]
    ) -> Generator[FinishedUnit, None, None]:
        """Decode units and yield them as they finish; closing the generator ends what still runs.

        Args:
            units: taken one by one, when somebody is free to decode them: so they can depend on what was yielded.
            stop: once it holds a signal, no more units are begun; those that run are finished.
            on_tokens: called with the number of new tokens, of all texts; below zero where a batch begins again.

        Raises: WorkerError: there are no workers, or they die whatever they are given.
        """


class LocalExecutor:
    """Decodes in this process, one unit after the other."""

    workers = None

    def __init__(
        self,
        models: StudyModels,
        say: Callable[[str], None] = lambda _line: None,
        compiling: Compile = Compile.auto,
    ) -> None:
        """Take loaded models; `say` is told in one line when memory runs out, `compiling` is `execution.compile`."""
        self._models, self._say, self._compiling = models, say, compiling

    def decode(
        self, units: Iterable[Unit], stop: Stop, on_tokens: Callable[[int], None] = lambda _tokens: None
    ) -> Generator[DecodedUnit | FailedPoint, None, None]:
        """Decode as `Executor.decode` says.

        A unit that raises an exception is decoded again point by point, so that only the points that raise it fail.
        """
        expert, amateur_models = self._models.expert, self._models.amateur_models
        for unit in units:
            parts, fits = [unit], unit.fits
            while parts:
                part = parts.pop(0)._replace(fits=fits)
                try:
                    batches = list(
                        decode(
                            expert,
                            part.lanes,
                            amateur_models=amateur_models,
                            max_lanes=part.max_lanes,
                            compact_every=part.plan.compact_every,
                            compiling=self._compiling,
                            on_step=on_tokens,
                            say=self._say,
                        )
                    )
                    texts = unit_texts(part, batches, expert)
                except Exception as error:  # whatever a kernel or an amateur raises, other points can be decoded
                    smaller = part.by_point()
                    if len(smaller) > 1:
                        parts = smaller
                    else:
                        yield FailedPoint(part, error)
                    continue
                if texts.lanes < part.max_lanes:
                    fits = texts.lanes
                yield DecodedUnit(part, texts)
            if stop.number is not None:
                return
