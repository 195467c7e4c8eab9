"""Texts: decoded unit by unit, stored as soon as their unit is done, and never decoded twice."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import NamedTuple, TypeAlias

from cdeval.config.points import Point, Role
from cdeval.errors import ModelError, PointError
from cdeval.records import Generation, Prompt
from cdeval.report.progress import decoding_progress
from cdeval.store.folder import Key, RunFolder
from cdeval.store.ledger import Plan
from cdeval.store.signals import Stop, Stopped
from cdeval.study.folders import Failed
from cdeval.study.models import StudyModels
from cdeval.study.ray import Piece, Remote
from cdeval.study.units import Decoded, Unit, Wanted, decode_unit, plan_units
from cdeval.study.workers import Lost, Rules, finish

Texts: TypeAlias = dict[Point, list[Generation]]  # in the order of the prompts, the samples of each together
Stored: TypeAlias = Mapping[Point, Mapping[Key, Generation]]

LOST_TEXTS = 3  # of a point; with so many, and fewer made, it is the setting that cannot be decoded, not a prompt


class Hooks(NamedTuple):
    """Who is told what while texts are made."""

    say: Callable[[str], None]  # one line
    failed: Failed  # a point that cannot be decoded
    lost: Callable[[Wanted, str], None]  # a text that no worker can make, and why; the rest of its point is made
    fits: Callable[[Plan, int, int], None]  # of a plan's beams, fewer lanes fit in memory than planned
    quiet: bool = False  # no progress on the screen


class Job(NamedTuple):
    """Points of one plan that are here, in the plan's order."""

    plan: Plan
    points: list[Point]


class Makers(NamedTuple):
    """Who decodes."""

    models: StudyModels  # this process's
    remote: Remote | None  # others, in its place


def write_texts(
    makers: Makers,
    jobs: Sequence[Job],
    prompts: Sequence[Prompt],
    folders: Mapping[Point, RunFolder],
    stop: Stop,
    hooks: Hooks,
) -> None:
    """Decode and store what the points lack; units whose texts are all stored are not decoded again.

    An exception while a unit is decoded here costs the points that raise it alone: the others go on, without them. A
    remote worker may also die: then its unit is tried again, and at last text by text.

    Raises: StorageError: a text cannot be stored. WorkerError: there are no workers. Stopped: an end was wanted; what
        was decoded is stored.
    """
    stored = {point: folder.generations() for point, folder in folders.items()}
    for point, folder in folders.items():
        if point.role is Role.human:
            held = stored[point]
            missing = [prompt for prompt in prompts if prompt.reference is not None and (prompt.id, 0) not in held]
            folder.append(_human(prompt) for prompt in missing)
    work = [
        (job.plan, unit)
        for job in jobs
        for unit in plan_units(job.points, prompts, job.plan.lanes)
        if _lacking(unit, stored)
    ]
    reused = sum(len(found) for point, found in stored.items() if point.setting is not None)
    if reused:
        hooks.say(f"{reused} continuations are already stored and are reused")
    if work:
        _Writer(makers.models, folders, stored, stop, hooks).write(work, makers.remote)


def read_texts(folders: Mapping[Point, RunFolder], prompts: Sequence[Prompt]) -> Texts:
    """Every point's stored texts of these prompts. Raises: StorageError: a line cannot be read."""
    return {point: in_order(folder.generations(), prompts, point.samples) for point, folder in folders.items()}


def _lacking(unit: Unit, stored: Stored) -> bool:
    return any(text.key not in stored[text.point] for text in unit.texts)


def in_order(found: Mapping[Key, Generation], prompts: Sequence[Prompt], samples: int) -> list[Generation]:
    """Those of the stored texts that continue these prompts, in the order of the prompts, the samples of each together.

    Args: found: by key. prompts: of the study. samples: of each prompt.
    """
    keys = [(prompt.id, sample) for prompt in prompts for sample in range(samples)]
    return [found[key] for key in keys if key in found]


class _Writer:
    """Decodes units in turn; each is on disk before the next one starts."""

    def __init__(
        self, models: StudyModels, folders: Mapping[Point, RunFolder], stored: Stored, stop: Stop, hooks: Hooks
    ) -> None:
        self._models, self._folders, self._stored, self._stop, self._hooks = models, folders, stored, stop, hooks
        self._lost: set[Point] = set()  # that failed
        self._fits: dict[tuple[str, int], int] = {}  # lanes, by plan and beams
        self._changed = 0  # stored texts that a unit, decoded again, made otherwise

    def write(self, work: Sequence[tuple[Plan, Unit]], remote: Remote | None) -> None:
        total = sum(unit.tokens for _, unit in work)
        texts = sum(len(unit.texts) for _, unit in work)
        lacking = Counter(text.point.label for _, unit in work for text in unit.texts)
        what, shown = f"decoding {texts} continuations", not self._hooks.quiet
        with decoding_progress(total, what, lacking, enabled=shown) as advance:
            made = (
                self._made_here(work, advance.tokens) if remote is None else self._made_by(remote, work, advance.tokens)
            )
            with closing(made):  # a full disk also ends the workers
                for unit, answer in made:
                    self._store(unit, answer)
                    advance.texts(Counter(text.point.label for text in unit.texts))
            if self._stop.number is not None:
                raise Stopped(self._stop.number)
        if self._changed:
            self._hooks.say(
                f"{self._changed} stored texts came out otherwise when their units were decoded again: they are kept "
                "as they were stored (made on another machine, by other libraries or in other batches, or edited)"
            )

    def _left(self, work: Iterable[tuple[Plan, Unit]]) -> Iterator[tuple[Plan, Unit]]:
        """What is still to be made when its turn comes."""
        for plan, whole in work:
            unit = whole.of(point for point in self._folders if point not in self._lost)
            if unit is not None and _lacking(unit, self._stored):
                yield plan, unit

    def _made_here(
        self, work: Iterable[tuple[Plan, Unit]], advance: Callable[[int], None]
    ) -> Generator[tuple[Unit, Decoded], None, None]:
        for plan, unit in self._left(work):
            yield from self._decoded(plan, unit, advance)
            if self._stop.number is not None:
                return

    def _made_by(
        self, remote: Remote, work: Iterable[tuple[Plan, Unit]], advance: Callable[[int], None]
    ) -> Generator[tuple[Unit, Decoded], None, None]:
        """As they finish; which worker made them leaves no trace."""
        lost: Counter[Point] = Counter()
        made: Counter[Point] = Counter()
        pieces = (Piece(unit, plan, self._fitting(plan, unit)) for plan, unit in self._left(work))
        crew = remote.crew
        self._hooks.say(f"starting {crew.workers} Ray workers of {crew.threads} threads and {crew.gpus:g} GPUs")
        rules: Rules[Piece] = Rules(
            remote.tries, lambda piece: piece.parts, lambda: self._stop.number is not None, self._hooks.say
        )
        with remote.pool(self._hooks.say) as pool:
            for found in finish(pool, pieces, rules):
                advance(found.work.unit.tokens)
                if isinstance(found, Lost):
                    (text,) = found.work.unit.texts
                    lost[text.point] += 1
                    if lost[text.point] < LOST_TEXTS or lost[text.point] < made[text.point]:
                        self._hooks.lost(text, found.problem)
                    elif text.point not in self._lost:
                        self._lost.add(text.point)
                        self._hooks.failed(text.point, PointError(f"{found.problem} (with most prompts)"))
                    continue
                unit, plan, fits = found.work
                made.update(text.point for text in unit.texts)
                self._note_fits(plan, unit, fits, found.answer)
                yield unit, found.answer

    def _decoded(self, plan: Plan, unit: Unit, advance: Callable[[int], None]) -> Iterable[tuple[Unit, Decoded]]:
        """The unit's texts, in one piece unless one of its points fails: then point by point."""
        fits = self._fitting(plan, unit)
        try:
            say = self._hooks.say
            made = decode_unit(self._models, unit, plan.compact_every, max_lanes=fits, on_step=advance, say=say)
        except Exception as error:
            points = list(dict.fromkeys(text.point for text in unit.texts))
            if len(points) == 1:
                self._lost.add(points[0])
                self._hooks.failed(points[0], error)
                return []
            parts = [part for point in points if (part := unit.of([point]))]
            return [found for part in parts for found in self._decoded(plan, part, advance)]
        self._note_fits(plan, unit, fits, made)
        return [(unit, made)]

    def _fitting(self, plan: Plan, unit: Unit) -> int:
        """How many lanes fit in memory, as far as is known."""
        return self._fits.get((plan.digest, unit.beams), plan.fits.get(unit.beams, len(unit.texts)))

    def _note_fits(self, plan: Plan, unit: Unit, fits: int, made: Decoded) -> None:
        if made.lanes < min(fits, len(unit.texts)):
            self._fits[plan.digest, unit.beams] = made.lanes
            self._hooks.fits(plan, unit.beams, made.lanes)

    def _store(self, unit: Unit, made: Decoded) -> None:
        """Append what is missing, and compare the rest with what is stored; a point with a text of no answer fails."""
        new: dict[Point, list[Generation]] = {}
        for place, (text, one) in enumerate(zip(unit.texts, made.generations, strict=True)):
            if place in made.faults:
                continue
            before = self._stored[text.point].get(text.key)
            if before is None:
                new.setdefault(text.point, []).append(one)
            else:
                self._changed += (before.token_ids, before.continuation) != (one.token_ids, one.continuation)
        for point, texts in new.items():
            self._folders[point].append(texts)
        self._fail(unit, made.faults)

    def _fail(self, unit: Unit, faults: Mapping[int, str]) -> None:
        """Tell of each point with faults once; what it has is stored, and the rest of it is not decoded."""
        counts = Counter(unit.texts[place].point for place in faults)
        for place, message in sorted(faults.items()):
            point = unit.texts[place].point
            if point not in self._lost:
                self._lost.add(point)
                others = f" So do {counts[point] - 1} of the texts decoded beside it." if counts[point] > 1 else ""
                self._hooks.failed(point, ModelError(f"{message}{others}"))


def _human(prompt: Prompt) -> Generation:
    return Generation(
        id=prompt.id,
        prompt=prompt.text,
        prompt_token_ids=prompt.token_ids,
        reference=prompt.reference,
        continuation=prompt.reference or "",
        token_ids=prompt.reference_token_ids or (),
        logprob_expert=None,
        score=None,
    )
