"""A study's points on disk while it runs: who holds them, how far they are, and what becomes of those that fail."""

import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import yaml

from cdeval.config.points import Point, prompts_digest
from cdeval.errors import CdevalError, PointError, StorageError
from cdeval.records import Prompt
from cdeval.store.folder import RunFolder
from cdeval.store.ledger import (
    Capacity,
    Entry,
    Ledger,
    LedgerState,
    Plan,
    PointState,
    plan_page,
    plan_together,
    stored_texts,
)
from cdeval.store.provenance import provenance
from cdeval.store.sessions import is_recorded, record_session
from cdeval.store.signals import Stopped, finishing
from cdeval.study.checking import check_stored
from cdeval.study.folders import all_folders, free_folders
from cdeval.study.models import StudyModels
from cdeval.study.open import left_alone
from cdeval.study.ray import Remote
from cdeval.study.texts import Hooks, Job, Makers, write_texts
from cdeval.study.units import Wanted

# The one in C is several times as fast, and every point's settings are read again by the next command.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
FAILURE = "failure.txt"  # of a point: the traceback of what is no user's mistake


class Study(NamedTuple):
    """What the points of a study share."""

    models: StudyModels
    remote: Remote | None  # who decodes; None: this process
    prompts: Sequence[Prompt]
    room: Capacity
    root: Path
    retry: bool
    say: Callable[[str], None]
    quiet: bool = False  # no progress on the screen


class Keeper:
    """Keeps the points of a study, in their folders and in the ledger."""

    def __init__(
        self,
        study: Study,
        ledger: Ledger,
        facts: Mapping[Point, Mapping[str, object]],
        plains: Mapping[Point, Mapping[str, object]],
    ) -> None:
        """Takes of each point what its texts are made by, and the settings that were asked for."""
        self._study, self._ledger, self._facts, self._plains = study, ledger, facts, plains
        self._held: dict[Point, RunFolder] = {}
        self._kept: set[Point] = set()  # points that this process has entered as running
        self.failures: dict[Point, CdevalError] = {}
        self.losses: dict[Point, list[str]] = {}  # single texts that cannot be made: which and why

    @contextmanager
    def complete(self) -> Iterator[dict[Point, RunFolder]]:
        """The points' run folders, held, with all their texts; without the points that failed.

        Folders that another process writes are waited for, once all others are complete.

        Raises: StorageError: a text cannot be stored. Stopped: an end was wanted.
        """
        points = list(self._facts)
        try:
            with free_folders(points, self._study.root, self.failed) as folders:
                self._decode(folders)
                busy = [point for point in points if point not in folders and point not in self.failures]
                if not busy:
                    yield self._whole(folders)
                    return
            names = ", ".join(point.label for point in busy)
            self._study.say(f"waiting for another process, which writes {names}; what it makes is reused")
            left = [point for point in points if point not in self.failures]
            with all_folders(left, self._study.root, self.failed) as folders:
                self._decode(folders)
                yield self._whole(folders)
        except Stopped as stopped:
            raise Stopped(stopped.number, self._saved()) from None
        except KeyboardInterrupt:
            raise Stopped(signal.SIGINT, self._saved()) from None
        except StorageError:
            raise
        except Exception as error:  # what befalls all points: they are complete, and not scored
            decoded = [point for point in self._mine() if point.setting is not None]
            self._enter(decoded, PointState.failed, str(error) or type(error).__name__)
            self._kept.difference_update(decoded)
            raise
        finally:
            self._let_go()

    def failed(self, point: Point, error: Exception) -> None:
        """Enter that a point cannot be decoded or scored; the others go on."""
        reason = str(error)
        if not isinstance(error, CdevalError):
            reason = f"{type(error).__name__}: {next(iter(reason.splitlines()), '')}"
            if point in self._held:
                self._held[point].write_text(FAILURE, "".join(traceback.format_exception(error)))
                reason += f" (traceback: {self._study.root / point.folder / FAILURE})"
        self.failures[point] = PointError(f"{point.label}: {reason}")
        self._study.say(f"failed, the others go on: {point.label}: {reason}")
        self._ledger.change(lambda state: state.put(self._entry(state, point, PointState.failed, reason)))
        self._kept.discard(point)

    def lost(self, text: Wanted, problem: str) -> None:
        """Note a text that cannot be made; its point is scored without it."""
        self.losses.setdefault(text.point, []).append(f"prompt {text.prompt.id!r}: {problem}")
        exact = self._study.models.expert.dtype_name == "float32"
        line = (
            ""
            if exact
            else " (texts that shared its batch are decoded one by one, and may differ from undisturbed ones)"
        )
        self._study.say(f"left out, the others go on: {text.point.label}, {self.losses[text.point][-1]}{line}")

    @property
    def errors(self) -> list[CdevalError]:
        """What failed, of whole points and of single texts."""
        partly = [
            PointError(f"{point.label} lacks {len(found)} of its texts and is scored without: {'; '.join(found)}")
            for point, found in self.losses.items()
            if point not in self.failures
        ]
        return [*self.failures.values(), *partly]

    def done(self, points: Sequence[Point]) -> None:
        """Enter that points are decoded, scored and priced; those that lack texts have failed all the same."""
        for point in self.losses:
            if point in points:
                self._enter([point], PointState.failed, "; ".join(self.losses[point]))
        self._kept.difference_update(self.losses)
        points = [point for point in points if point not in self.losses]
        for point in points:
            (self._study.root / point.folder / FAILURE).unlink(missing_ok=True)
        self._enter(points, PointState.done)
        self._kept.difference_update(points)

    def _decode(self, folders: Mapping[Point, RunFolder]) -> None:
        self._held = self._whole(folders)
        self.losses.clear()  # they are tried again with what was waited for
        if not self._study.retry:
            for point, reason in self._ledger.change(self._failed_before).items():
                self.failures[point] = left_alone(point.label, reason)
            self._held = self._whole(folders)
        self._check_stored()
        stored = {point: len(folder.generations()) for point, folder in self._held.items()}
        lacking = {point for point, found in stored.items() if found < self._wanted(point)}
        jobs = self._jobs(stored, lacking)
        with finishing() as stop:
            hooks = Hooks(self._study.say, self.failed, self.lost, self._fits, self._study.quiet)
            write_texts(
                Makers(self._study.models, self._study.remote), jobs, self._study.prompts, self._held, stop, hooks
            )
            if stop.number is not None:
                raise Stopped(stop.number)

    def _check_stored(self) -> None:
        """Points whose stored texts are not of this study have failed; the others go on."""
        vocabulary = self._study.models.expert.parts.head_weight.shape[0]
        for point, folder in self._held.items():
            try:
                check_stored(point, folder.generations(), self._study.prompts, vocabulary, folder.path)
            except StorageError as error:
                self.failed(point, error)
        self._held = self._whole(self._held)

    def _jobs(self, stored: Mapping[Point, int], lacking: set[Point]) -> list[Job]:
        """Plan what is not planned, and enter what it runs on before the first token."""
        room = self._study.room
        decoded = {point.digest: point for point in self._held if point.setting is not None}
        begun = {point.digest for point, found in stored.items() if found}
        open_ones = {point.digest for point in lacking}

        def plan(state: LedgerState) -> tuple[dict[str, list[str]], list[str], dict[str, Plan]]:
            for point in self._held:
                entry = state.points.get(point.digest)
                done = entry is not None and entry.state is PointState.done and point not in lacking
                state.put(self._entry(state, point, PointState.done if done else PointState.running))
                if not done:
                    self._kept.add(point)
            kept, apart = plan_together(state, list(decoded), begun, open_ones, room)
            return kept, apart, {name: state.plans[name] for name in kept}

        kept, apart, plans = self._ledger.change(plan)
        plan_of = {digest: plans[name] for name, digests in kept.items() for digest in digests}
        self._record(lacking, begun, plan_of)
        if apart and self._study.models.expert.dtype_name != "float32":
            names = ", ".join(decoded[digest].label for digest in apart)
            self._study.say(
                f"begun in other batches than now, so texts in {self._study.models.expert.dtype_name} may differ from "
                f"those of an undisturbed run: {names}"
            )
        return [Job(plans[name], [decoded[digest] for digest in digests]) for name, digests in kept.items()]

    def _record(self, lacking: set[Point], begun: set[str], plan_of: Mapping[str, Plan]) -> None:
        digest = prompts_digest(self._study.prompts)
        differences: dict[str, None] = {}
        for point, folder in self._held.items():
            folder.write_settings("config.yaml", self._settings(point, folder, begun=point.digest in begun))
            if point not in lacking and is_recorded(folder):
                continue
            plan = plan_of.get(point.digest)
            lanes = {"max_lanes": plan.lanes[point.setting.beams]} if plan and point.setting else {}
            now = {**provenance({**self._facts[point], **lanes}, digest), "point": point.facts()}
            own = {
                "wanted": self._wanted(point),
                "plan": plan_page(plan) if plan else None,
                "plan_digest": plan.digest if plan else None,
            }
            differences |= dict.fromkeys(record_session(folder, now, own, begun=point.digest in begun))
        if differences:
            name = self._study.models.expert.dtype_name
            self._study.say(f"other than when this was begun, so texts in {name} may differ: {'; '.join(differences)}")

    def _settings(self, point: Point, folder: RunFolder, *, begun: bool) -> dict[str, object]:
        """As they were asked for now; but the models of stored texts are those that provenance.json names, too."""
        asked = dict(self._plains[point])
        before: object = None
        if begun:
            with suppress(
                OSError, ValueError, RecursionError, yaml.YAMLError
            ):  # lost or broken: the same models by another name
                before = yaml.load((folder.path / "config.yaml").read_bytes(), Loader=_Loader)  # noqa: S506 - a safe one
        kept = before if isinstance(before, dict) else {}
        return asked | {name: kept[name] for name in ("expert", "amateur") if isinstance(kept.get(name), dict)}

    def _wanted(self, point: Point) -> int:
        """Texts of a point; the human reference has those that there are."""
        if point.setting is None:
            return sum(prompt.reference is not None for prompt in self._study.prompts)
        return len(self._study.prompts) * point.samples

    def _whole(self, folders: Mapping[Point, RunFolder]) -> dict[Point, RunFolder]:
        return {point: folder for point, folder in folders.items() if point not in self.failures}

    def _failed_before(self, state: LedgerState) -> dict[Point, str | None]:
        entries = ((point, state.points.get(point.digest)) for point in self._held)
        return {point: entry.reason for point, entry in entries if entry and entry.state is PointState.failed}

    def _fits(self, plan: Plan, beams: int, lanes: int) -> None:
        def edit(state: LedgerState) -> None:
            known = state.plans[plan.digest]
            state.plans[plan.digest] = replace(known, fits={**known.fits, beams: lanes})

        self._ledger.change(edit)

    def _mine(self) -> list[Point]:
        return [point for point in self._facts if point in self._kept]

    def _enter(self, points: Sequence[Point], state: PointState, reason: str | None = None) -> None:
        if points:
            self._ledger.change(
                lambda ledger: ledger.put(*(self._entry(ledger, point, state, reason) for point in points))
            )

    def _entry(self, ledger: LedgerState, point: Point, state: PointState, reason: str | None = None) -> Entry:
        """The point as the ledger is to have it."""
        before = ledger.points.get(point.digest)
        folder = self._study.root / point.folder
        return Entry(
            digest=point.digest,
            label=point.label,
            role=point.role.value,
            folder=point.folder,
            wanted=self._wanted(point),
            state=state,
            stored=stored_texts(folder),
            reason=reason,
            plan=before.plan if before else None,
            pid=os.getpid() if state is PointState.running else None,
        )

    def _let_go(self) -> None:
        """What is still running was interrupted."""
        with suppress(StorageError):  # of a full disk: the ledger's readers find out from the folders
            self._enter(self._mine(), PointState.planned)
        self._kept.clear()

    def _saved(self) -> str:
        points = [point for point in self._facts if point.setting is not None]
        stored = sum(stored_texts(self._study.root / point.folder) for point in points)
        return f"{stored} of {sum(map(self._wanted, points))} texts are saved in {self._study.root}"
