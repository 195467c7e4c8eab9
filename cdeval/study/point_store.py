"""The points of a study on disk while it runs: who holds their run folders, which texts they lack, and which fail."""

import signal
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple, Self

from cdeval.config.plugins import loaded_plugins
from cdeval.config.points import Point, Role, prompts_digest
from cdeval.errors import CdevalError, ModelError, PointError, StorageError
from cdeval.records import Generation
from cdeval.store.folder import Key, RunFolder
from cdeval.store.ledger import Capacity, Plan, PointState, plan_page
from cdeval.store.provenance import provenance
from cdeval.store.sessions import is_recorded, record_session
from cdeval.store.signals import Stopped
from cdeval.study.executor import FailedPoint, FinishedUnit, LostText
from cdeval.study.open import LoadedStudy, left_alone
from cdeval.study.point_states import PlannedPoints, PointStates
from cdeval.study.run_folders import Texts, check_stored, human_texts, in_order, settings_of_record, take_all, take_free
from cdeval.study.units import TextTask, Unit, UnitTexts, plan_units

FAILURE = "failure.txt"  # of a point: the traceback of an error that is not the user's


class PointRecord(NamedTuple):
    """The facts of a run folder about its point, beside the texts."""

    settings: Mapping[str, object]  # config.yaml
    made_by: Mapping[str, object]  # provenance.json: the models, and where they run


class PointStore:
    """Takes the run folders of a study's points, stores their texts as they are decoded, and keeps the ledger.

    Leaving it as a context lets the folders go and enters in the ledger what was not finished.

    Raises: Stopped: on leaving after Ctrl-C or SIGTERM, with the number of texts that are saved.
    """

    def __init__(self, study: LoadedStudy, records: Mapping[Point, PointRecord], capacity: Capacity) -> None:
        """Take nothing yet.

        Args:
            study: the loaded study.
            records: of its points, in its order.
            capacity: lanes that may share a forward pass, for points that have no plan yet.
        """
        self._study, self._records, self._capacity = study, records, capacity
        self._prompts, self._say = study.prompts.prompts, study.say
        self._states = PointStates(study, records)
        self._folders = ExitStack()
        self._held: dict[Point, RunFolder] = {}  # also of points that failed since they were taken
        self._busy: list[Point] | None = None  # points whose folders another process writes; None: not known yet
        self._stored: dict[Point, Mapping[Key, Generation]] = {}  # texts when the units were planned
        self._fits: dict[tuple[str, int], int] = {}  # lanes that fit in memory, by plan and beams
        self._changed = 0  # stored texts that came out otherwise when their unit was decoded again
        self._failures: dict[Point, CdevalError] = {}
        self._losses: dict[Point, list[str]] = {}  # single texts that cannot be decoded: which and why

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._folders.close()
        try:
            if isinstance(error, KeyboardInterrupt):
                number = error.number if isinstance(error, Stopped) else signal.SIGINT
                raise Stopped(number, self._states.saved()) from None
            if isinstance(error, Exception) and not isinstance(error, StorageError):
                self._states.fail_decoded(str(error) or type(error).__name__)
        finally:
            self._states.let_go()

    @property
    def failures(self) -> list[CdevalError]:
        """The errors of points that failed, and of points that lack single texts."""
        partly = [
            PointError(f"{point.label} lacks {len(found)} of its texts and is scored without: {'; '.join(found)}")
            for point, found in self._losses.items()
            if point not in self._failures
        ]
        return [*self._failures.values(), *partly]

    @property
    def folders(self) -> dict[Point, RunFolder]:
        """The run folders that this process holds, without those of failed points."""
        return {point: folder for point, folder in self._held.items() if point not in self._failures}

    def texts(self) -> Texts:
        """Read every point's stored texts, once all are decoded. Raises: StorageError: a line cannot be read."""
        self._stored.clear()  # nothing is compared with them any more, and the folders read them anew
        return {point: in_order(one.generations(), self._prompts, point.samples) for point, one in self.folders.items()}

    def plan(self) -> list[Unit]:
        """Take run folders and plan the units that are to be decoded for them.

        The first call takes the folders that no other process writes. Once these are complete, the next call waits for
        the others.

        Returns: the units that lack texts; none: every point has its texts, but for those that failed.

        Raises: StorageError: the disk refuses.
        """
        self._say_of_changed()
        points, root = list(self._records), self._study.root
        if self._busy is None:
            self._held = take_free(points, root, self._fail, self._folders)
            units = self._units()
            self._busy = [point for point in points if point not in self._held and point not in self._failures]
            if units:
                return units
        if not self._busy:
            return []
        names = ", ".join(point.label for point in self._busy)
        self._say(f"waiting for another process, which writes {names}; what it makes is reused")
        self._busy = []
        self._held = {}
        self._folders.close()
        left = [point for point in points if point not in self._failures]
        self._held = take_all(left, root, self._fail, self._folders)
        return self._units()

    def remaining(self, units: Iterable[Unit]) -> Iterator[Unit]:
        """Yield what is still to be decoded of units when their turn comes, with the number of lanes that fit."""
        for whole in units:
            unit = whole.without(self._failures) if self._failures else whole
            if unit is not None and self._lacks(unit):
                fits = self._fits.get((unit.plan.digest, unit.beams), unit.plan.fits.get(unit.beams))
                yield unit._replace(fits=fits)

    def add(self, finished: FinishedUnit) -> dict[str, int]:
        """Store the texts of a unit that are missing, or note that they cannot be made.

        Returns: how many texts were decoded, by the label of their point.

        Raises: StorageError: a text cannot be stored.
        """
        if isinstance(finished, FailedPoint):
            self._fail(finished.unit.texts[0].point, finished.error)
            return {}
        if isinstance(finished, LostText):
            self._lose(finished.text, finished.problem)
            return {}
        self._store(finished.unit, finished.texts)
        return Counter(text.point.label for text in finished.unit.texts)

    def finish(self) -> None:
        """Enter that the points are decoded, scored and priced; those that lack texts have failed all the same."""
        for point, found in self._losses.items():
            if point not in self._failures:
                self._states.finish([point], PointState.failed, "; ".join(found))
        points = [point for point in self.folders if point not in self._losses]
        for point in points:
            (self._held[point].path / FAILURE).unlink(missing_ok=True)
        self._states.finish(points, PointState.done)

    def _units(self) -> list[Unit]:
        self._losses.clear()  # they are tried again beside what was waited for
        if not self._study.config.retry:
            for point, reason in self._states.failed_before(self.folders).items():
                self._failures[point] = left_alone(point.label, reason)
        self._check_stored()
        self._stored = {point: folder.generations() for point, folder in self.folders.items()}
        plans = self._plan()
        for point, folder in self.folders.items():
            if point.role is Role.human:
                folder.append(human_texts(self._prompts, self._stored[point]))
        reused = sum(len(found) for point, found in self._stored.items() if point.setting is not None)
        if reused:
            self._say(f"{reused} continuations are already stored and are reused")
        units = [unit for plan, points in plans for unit in plan_units(points, self._prompts, plan)]
        return [unit for unit in units if self._lacks(unit)]

    def _lacks(self, unit: Unit) -> bool:
        return any(text.key not in self._stored[text.point] for text in unit.texts)

    def _check_stored(self) -> None:
        """Points whose stored texts are not of this study have failed; the others go on."""
        vocabulary = self._study.models.expert.parts.head_weight.shape[0]
        for point, folder in self.folders.items():
            try:
                check_stored(point, folder.generations(), self._prompts, vocabulary, folder.path)
            except StorageError as error:
                self._fail(point, error)

    def _plan(self) -> list[tuple[Plan, list[Point]]]:
        """Plan points that have no plan, and record what they run on before the first token is decoded."""
        planned = self._states.plan(self._stored, self._capacity)
        self._record(planned)
        dtype = self._study.models.expert.dtype_name
        if planned.apart and dtype != "float32":
            names = ", ".join(point.label for point in planned.apart)
            self._say(
                f"begun in other batches than now, so texts in {dtype} may differ from those of an undisturbed run: "
                f"{names}"
            )
        return planned.plans

    def _record(self, planned: PlannedPoints) -> None:
        """Write the settings and the provenance of the points."""
        digest = prompts_digest(self._prompts)
        plan_of = {point: plan for plan, points in planned.plans for point in points}
        differences: dict[str, None] = {}
        for point, folder in self.folders.items():
            record, begun = self._records[point], bool(self._stored[point])
            folder.write_settings("config.yaml", settings_of_record(folder, record.settings, begun=begun))
            if point not in planned.lacking and is_recorded(folder):
                continue
            plan = plan_of.get(point)
            lanes = {"max_lanes": plan.lanes[point.setting.beams]} if plan and point.setting else {}
            now = {**provenance({**record.made_by, **lanes}, digest, loaded_plugins()), "point": point.facts()}
            own = {
                "wanted": self._states.wanted(point),
                "plan": plan_page(plan) if plan else None,
                "plan_digest": plan.digest if plan else None,
            }
            differences |= dict.fromkeys(record_session(folder, now, own, begun=begun))
        if differences:
            dtype = self._study.models.expert.dtype_name
            self._say(f"other than when this was begun, so texts in {dtype} may differ: {'; '.join(differences)}")

    def _store(self, unit: Unit, made: UnitTexts) -> None:
        """Append texts that are missing and compare the others with what is stored; a point with a fault fails."""
        if made.lanes < unit.max_lanes:
            self._fits[unit.plan.digest, unit.beams] = made.lanes
            self._states.note_fits(unit, made.lanes)
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
            self._held[point].append(texts)
        counts = Counter(unit.texts[place].point for place in made.faults)
        for place, message in sorted(made.faults.items()):
            point = unit.texts[place].point
            others = f" So do {counts[point] - 1} of the texts decoded beside it." if counts[point] > 1 else ""
            self._fail(point, ModelError(f"{message}{others}"))

    def _fail(self, point: Point, error: Exception) -> None:
        """Enter that a point cannot be decoded, if that is not known yet; its texts stay, and the others go on."""
        if point in self._failures:
            return
        reason = str(error)
        if not isinstance(error, CdevalError):
            reason = f"{type(error).__name__}: {next(iter(reason.splitlines()), '')}"
            if point in self._held:
                self._held[point].write_text(FAILURE, "".join(traceback.format_exception(error)))
                reason += f" (traceback: {self._study.root / point.folder / FAILURE})"
        self._failures[point] = PointError(f"{point.label}: {reason}")
        self._say(f"failed, the others go on: {point.label}: {reason}")
        self._states.finish([point], PointState.failed, reason)

    def _lose(self, text: TextTask, problem: str) -> None:
        """Note a text that cannot be decoded; its point is scored without it."""
        self._losses.setdefault(text.point, []).append(f"prompt {text.prompt.id!r}: {problem}")
        exact = self._study.models.expert.dtype_name == "float32"
        beside = "texts that shared its batch are decoded one by one, and may differ from undisturbed ones"
        line = f"left out, the others go on: {text.point.label}, {self._losses[text.point][-1]}"
        self._say(line if exact else f"{line} ({beside})")

    def _say_of_changed(self) -> None:
        if self._changed:
            self._say(
                f"{self._changed} stored texts came out otherwise when their units were decoded again: they are kept "
                "as they were stored (made on another machine, by other libraries or in other batches, or edited)"
            )
        self._changed = 0
