"""Units of work decoded by other processes: what is sent to them, and what they open.

A worker opens the same settings as the driver and must come to the same weights, or it does not begin. It writes
nothing: texts go back to the driver, who alone holds the run folders.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch

from cdeval.config.enums import Dtype
from cdeval.config.schema import AUTO, ExecutionConfig, RunConfig
from cdeval.config.setting import Amateur, amateur_of
from cdeval.errors import ModelError
from cdeval.models.loading import open_model
from cdeval.prompts import PromptSet
from cdeval.store.ledger import Plan
from cdeval.study.heartbeats import Silence
from cdeval.study.models import StudyModels, load_together, open_models
from cdeval.study.ray_cluster import Crew
from cdeval.study.ray_workers import Telling, ray_pool
from cdeval.study.units import Decoded, Unit, decode_unit
from cdeval.study.workers import Pool


class Piece(NamedTuple):
    """A unit of work and how it is decoded."""

    unit: Unit
    plan: Plan  # that it is a unit of
    max_lanes: int  # that fit in memory, as far as is known

    @property
    def parts(self) -> list["Piece"]:
        """Text by text, to find the one that cannot be decoded."""
        return [self._replace(unit=Unit(self.unit.place, (text,))) for text in self.unit.texts]

    def describe(self) -> str:
        """Which texts they are, for people."""
        first = self.unit.texts[0]
        more = f" and {len(self.unit.texts) - 1} more texts" if len(self.unit.texts) > 1 else ""
        return f"prompt {first.prompt.id!r} of {first.point.label}{more}"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a worker comes to the driver's models; called there."""

    configs: Sequence[RunConfig]  # of one expert
    prompts: PromptSet
    identities: Mapping[Amateur, str]  # what the driver's weights are
    folder: str  # the driver's: relative paths mean the same in a worker

    def __call__(self) -> "Decoder":
        """Open and load. Raises: CdevalError: as in the driver. ModelError: these are other weights."""
        with suppress(OSError):  # another machine may not have it, and need not where no path is relative
            os.chdir(self.folder)
        shared = open_model(self.configs[0].expert)
        models, broken = load_together([open_models(config, shared) for config in self.configs], self.prompts)
        if broken:
            raise next(iter(broken.values()))
        for amateur, identity in self.identities.items():
            if models.identity(amateur) != identity:
                raise ModelError(
                    f"{shared.name} and its amateurs have other weights here than where the command runs: give every "
                    "machine the same files."
                )
        return Decoder(models)


class Decoder:
    """What a worker does."""

    def __init__(self, models: StudyModels) -> None:
        self._models = models

    def __call__(self, piece: Piece) -> Decoded:
        """Decode a unit. Raises: ModelError: not even one lane fits in memory."""
        return decode_unit(self._models, piece.unit, piece.plan.compact_every, max_lanes=piece.max_lanes)


@dataclass(frozen=True, slots=True)
class Remote:
    """Workers elsewhere, not started yet."""

    crew: Crew
    tries: int
    recipe: Recipe
    silence: Silence = field(default_factory=Silence)  # how long a worker may not answer

    @contextmanager
    def pool(self, say: Callable[[str], None]) -> Iterator[Pool[Piece, Decoded]]:
        """Start them; `say` is told of those that do not answer. Raises: WorkerError: as `ray_workers.ray_pool`."""
        with ray_pool(self.crew, self.recipe, Telling(say, Piece.describe, self.silence)) as pool:
            yield pool


def remote_of(
    execution: ExecutionConfig, configs: Sequence[RunConfig], models: StudyModels, prompts: PromptSet
) -> Remote:
    """The workers that the configuration asks for.

    Args:
        execution: how many, and what each may use.
        configs: the settings that are decoded.
        models: the driver's models, which theirs must equal; their number format is the driver's, too.
        prompts: what n-grams are not counted on.
    """
    dtype = Dtype(models.expert.dtype_name)
    pinned = [replace(config, expert=replace(config.expert, dtype=dtype)) for config in configs]
    amateurs = {amateur_of(config.amateur) for config in pinned}
    identities = {amateur: models.identity(amateur) for amateur in amateurs}
    recipe = Recipe(pinned, prompts, identities, os.getcwd())
    silence = Silence(execution.silence_s, execution.replaced_s)
    return Remote(crew_of(execution, models.expert.device), execution.tries, recipe, silence)


def crew_of(execution: ExecutionConfig, device: torch.device) -> Crew:
    """Numbers for what was left to cdeval: the cores of this machine shared out, a GPU each if the expert has one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    auto_threads, auto_gpus = max(1, cores // execution.workers), float(device.type == "cuda")
    return Crew(
        workers=execution.workers,
        threads=auto_threads if execution.threads == AUTO else int(execution.threads),
        gpus=auto_gpus if execution.gpus == AUTO else float(execution.gpus),
        address=execution.address,
    )
