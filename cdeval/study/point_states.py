"""The points of a study in its ledger: how far each is, which share a plan, and what a stopped process leaves."""

import os
from collections.abc import Iterable, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from cdeval.config.points import Point
from cdeval.errors import StorageError
from cdeval.store.ledger import Capacity, Entry, LedgerState, Plan, PointState, plan_together, stored_texts
from cdeval.study.open import LoadedStudy
from cdeval.study.units import Unit


class PlannedPoints(NamedTuple):
    """The points that are decoded together."""

    plans: list[tuple[Plan, list[Point]]]
    apart: list[Point]  # that go on without points of their plan, which are not held now
    lacking: set[Point]  # that lack texts


class PointStates:
    """Enters the points of a study in its ledger, as this process finds and changes them.

    The texts of a point are counted before the ledger is locked.
    """

    def __init__(self, study: LoadedStudy, points: Iterable[Point]) -> None:
        """Take the points in the order of the study; nothing is entered yet."""
        self._study, self._points = study, list(points)
        self._running: set[Point] = set()  # points that this process has entered as running

    def wanted(self, point: Point) -> int:
        """Count the texts that a point is to have; the human reference has those that there are."""
        prompts = self._study.prompts.prompts
        if point.setting is None:
            return sum(prompt.reference is not None for prompt in prompts)
        return len(prompts) * point.samples

    def failed_before(self, points: Iterable[Point]) -> dict[Point, str | None]:
        """Find those of the points that an earlier command entered as failed, and the reasons."""
        entries = self._study.ledger.change(lambda state: dict(state.points))
        known = ((point, entries.get(point.digest)) for point in points)
        return {point: entry.reason for point, entry in known if entry and entry.state is PointState.failed}

    def plan(self, stored: Mapping[Point, Sized], capacity: Capacity) -> PlannedPoints:
        """Enter that points are about to be decoded, and plan those together that have no plan.

        Args:
            stored: the texts of the points that this process holds, in the order of the study.
            capacity: for new plans.
        """
        held = {point.digest: point for point in stored}
        decoded = [digest for digest, point in held.items() if point.setting is not None]
        begun = {point.digest for point, found in stored.items() if len(found)}
        lacking = {point.digest for point, found in stored.items() if len(found) < self.wanted(point)}
        entries = [self._entry(point, PointState.running) for point in stored]

        def enter(state: LedgerState) -> tuple[dict[str, list[str]], list[str], dict[str, Plan]]:
            for entry in entries:
                known = state.points.get(entry.digest)
                if known is not None and known.state is PointState.done and entry.digest not in lacking:
                    state.put(replace(entry, state=PointState.done, pid=None))
                else:
                    state.put(entry)
                    self._running.add(held[entry.digest])
            kept, apart = plan_together(state, decoded, begun, lacking, capacity)
            return kept, apart, {name: state.plans[name] for name in kept}

        kept, apart, plans = self._study.ledger.change(enter)
        return PlannedPoints(
            [(plans[name], [held[digest] for digest in digests]) for name, digests in kept.items()],
            [held[digest] for digest in apart],
            {held[digest] for digest in lacking},
        )

    def note_fits(self, unit: Unit, lanes: int) -> None:
        """Enter that no more lanes of the unit's beam width than these fit in memory at once."""

        def edit(state: LedgerState) -> None:
            known = state.plans[unit.plan.digest]
            state.plans[unit.plan.digest] = replace(known, fits={**known.fits, unit.beams: lanes})

        self._study.ledger.change(edit)

    def finish(self, points: Sequence[Point], state: PointState, reason: str | None = None) -> None:
        """Enter that points are done, or have failed for a reason."""
        self._enter(points, state, reason)
        self._running.difference_update(points)

    def fail_decoded(self, reason: str) -> None:
        """Enter that all points that are decoded have failed: something befell them together."""
        self.finish([point for point in self._unfinished() if point.setting is not None], PointState.failed, reason)

    def let_go(self) -> None:
        """Enter that what still runs was interrupted."""
        with suppress(StorageError):  # of a full disk: the ledger's readers find out from the folders
            self._enter(self._unfinished(), PointState.planned)
        self._running.clear()

    def saved(self) -> str:
        """Say how many texts are on the disk."""
        points = [point for point in self._points if point.setting is not None]
        stored = sum(stored_texts(self._study.root / point.folder) for point in points)
        return f"{stored} of {sum(map(self.wanted, points))} texts are saved in {self._study.root}"

    def _unfinished(self) -> list[Point]:
        return [point for point in self._points if point in self._running]

    def _enter(self, points: Sequence[Point], state: PointState, reason: str | None = None) -> None:
        if points:
            entries = [self._entry(point, state, reason) for point in points]
            self._study.ledger.change(lambda ledger: ledger.put(*entries))

    def _entry(self, point: Point, state: PointState, reason: str | None = None) -> Entry:
        """The point as the ledger is to have it; its plan is kept there."""
        return Entry(
            digest=point.digest,
            label=point.label,
            role=point.role.value,
            folder=point.folder,
            wanted=self.wanted(point),
            state=state,
            stored=stored_texts(self._study.root / point.folder),
            reason=reason,
            pid=os.getpid() if state is PointState.running else None,
        )
