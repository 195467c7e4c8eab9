"""The whole experiment on one page: requested settings in, run folders and the rows of a table out.

    open -> plan -> decode -> price -> score -> write -> report -> track

Cheap checks come before weights are read, texts are stored before they are scored, and results are on disk before a
tracker hears of them. Texts that are already stored are reused: the same command continues where it stopped. Settings
that differ in amateur, contrast and search alone are one study, with the same models, prompts, passes and codebook.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace

from cdeval.config.amateur import amateur_of, kind_of
from cdeval.config.enums import ExecutorKind
from cdeval.config.points import Point, Role, arm_digests, plan_points
from cdeval.config.schema import AUTO
from cdeval.config.setting import adaptive_exit_of
from cdeval.cost.capacity import lanes_at_once, own_slot_bytes
from cdeval.errors import together
from cdeval.models.lens import TunedLens
from cdeval.models.loading import LanguageModel
from cdeval.records import document_of
from cdeval.report.finished import scoring_turn
from cdeval.report.progress import Advance, decoding_progress
from cdeval.report.summary import FLATTERED, sample_notes
from cdeval.store.ledger import Capacity
from cdeval.store.sessions import by_sample
from cdeval.store.signals import finishing
from cdeval.study.costs import keep_costs, price_points
from cdeval.study.executor import Executor, LocalExecutor
from cdeval.study.open import LoadedStudy, StudyRequest, open_study
from cdeval.study.point_store import PointRecord, PointStore
from cdeval.study.ray import ray_executor
from cdeval.study.results import StudyResult, score_points, write_points, write_report
from cdeval.study.tracking import StudyTracking
from cdeval.study.units import Unit


def run_study(requests: Sequence[StudyRequest], say: Callable[[str], None]) -> StudyResult:
    """Decode, price and score settings beside their controls.

    Args:
        requests: settings that differ in amateur, contrast and search alone, and make texts of one length.
        say: takes one line of progress at a time.

    Raises: CdevalError: a user's mistake or a missing prerequisite that leaves nothing to decode, or one that all
        settings share; whatever was generated before it stays on disk. Stopped: an end was wanted, likewise.
    """
    study = open_study(requests, say)
    executor = choose_executor(study)
    points = list_points(study, executor)
    with StudyTracking(study, points) as tracking:
        with PointStore(study, points, measure_capacity(study)) as store:
            while units := store.plan():
                with finishing() as stop, _progress(study, units) as shown:
                    progress = tracking.shows(units, shown)
                    with closing(executor.decode(store.remaining(units), stop, progress.tokens)) as finished:
                        for unit in finished:
                            progress.texts(store.add(unit))
            failures = [*study.failures, *store.failures]
            if all(point.setting is None for point in store.folders):
                raise together(failures)
            texts = store.texts()
            costs = price_points(study, store.folders, texts)
            with scoring_turn(study.root, say):
                say("scoring")
                scores = score_points(study, store.folders, texts, costs)
                write_points(study, scores)
                result = write_report(study, scores, _notes(study))
                keep_costs(costs, study.config, study.root)
                store.finish()
            folders = _folders(requests, study, store.folders)
        warnings = tracking.finish(texts)
    failures += scores.scored.failures
    return replace(result, failures=failures, folders=folders, warnings=warnings)


def choose_executor(study: LoadedStudy) -> Executor:
    """Choose who decodes, as `execution` says."""
    execution = study.config.execution
    if execution.kind is ExecutorKind.local:
        return LocalExecutor(study.models, study.say, execution.compile)
    configs = [one.config for one in study.settings]
    return ray_executor(execution, configs, study.models, study.prompts, study.say)


def list_points(study: LoadedStudy, executor: Executor) -> dict[Point, PointRecord]:
    """List the points of the study, each with what its run folder is to say of it."""
    old = by_sample(study.root)
    if old:
        study.say(
            f"{len(old)} run folders in {study.root} are of an older cdeval, which knew models by a sample of their "
            f"weights: whether this {study.models.expert.name} made their texts cannot be told, so none of them is "
            "reused, and what is asked for again is decoded again. Delete them, or set another study= to keep them "
            "apart"
        )
    points = plan_points([one.config for one in study.settings], study.models.identity, study.prompts.prompts)
    return {
        point: PointRecord(
            settings={**_settings(study.settings[place].plain, point), "point": point.facts()},
            made_by=_made_by(study, study.settings[place], executor),
        )
        for point, place in points.items()
    }


def _settings(plain: Mapping[str, object], point: Point) -> dict[str, object]:
    """The settings that a run folder records; what was tried for an arm was not tried for its control."""
    return {name: value for name, value in plain.items() if name != "tried" or point.role is Role.arm}


def _folders(requests: Sequence[StudyRequest], study: LoadedStudy, points: Iterable[Point]) -> list[str | None]:
    """Find the run folder of each request; settings that make the same texts share one."""
    names = {point.digest: point.folder for point in points}
    digests = arm_digests([one.config for one in study.settings], study.models.identity, study.prompts.prompts)
    found = {id(one.plain): names.get(digest) for one, digest in zip(study.settings, digests, strict=True)}
    return [found.get(id(one.plain)) for one in requests]


def _made_by(study: LoadedStudy, setting: StudyRequest, executor: Executor) -> dict[str, object]:
    """Name the models and machines that decode a setting."""
    expert, amateur = study.models.expert, study.models.amateur_models.get(amateur_of(setting.config.amateur))
    names = ("name", "revision", "fingerprint")
    exits = adaptive_exit_of(setting.config.search.adaptive_exit)
    own = study.models.amateur_models.get(exits.read_as) if exits is not None and exits.read_as is not None else None
    return {
        "expert": expert.name,
        "revision": expert.revision,
        "fingerprint": expert.fingerprint,
        "amateur": {name: getattr(amateur, name) for name in names} if isinstance(amateur, LanguageModel) else None,
        "architecture": expert.model.config.model_type,
        "dtype": expert.dtype_name,
        "device": str(expert.device),
        "lens": {"digest": amateur.digest, **amateur.facts} if isinstance(amateur, TunedLens) else None,
        **({"exit_lens": {"digest": own.digest, **own.facts}} if isinstance(own, TunedLens) else {}),
        "temperature": setting.calibration,
        "workers": executor.workers,
    }


def measure_capacity(study: LoadedStudy) -> Capacity:
    """Find how many lanes of each beam width fit in memory, whichever of the study's amateurs they have."""
    execution, length = study.config.execution, study.config.search.max_new_tokens
    longest = max(len(prompt.token_ids) for prompt in study.prompts.prompts) + length
    rows: Counter[int] = Counter()
    slots: Counter[int] = Counter()
    for config in (one.config for one in study.settings):
        search, amateur = config.search, amateur_of(config.amateur)
        exits = search.adaptive_exit.threshold is not None
        rows[search.beams] = max(rows[search.beams], 1, kind_of(amateur).head_rows(amateur) + exits)
        slots[search.beams] = max(slots[search.beams], own_slot_bytes(study.models.amateur_models.get(amateur)))
    expert = study.models.expert
    lanes = {beams: lanes_at_once(execution, expert, beams, longest, rows[beams], slots[beams]) for beams in rows}
    return Capacity(lanes, execution.compact_every, pinned=execution.max_lanes != AUTO)


def _progress(study: LoadedStudy, units: Sequence[Unit]) -> AbstractContextManager[Advance]:
    """Show on the screen how many texts of which points are decoded."""
    lacking = Counter(text.point.label for unit in units for text in unit.texts)
    tokens = sum(unit.tokens for unit in units)
    what, shown = f"decoding {lacking.total()} continuations", not study.config.tracking.quiet
    return decoding_progress(tokens, what, lacking, enabled=shown)


def _notes(study: LoadedStudy) -> list[str]:
    """Tell how the texts were made, for readers of the table."""
    ids = {prompt.id for prompt in study.prompts.prompts}
    lenses = [one for one in study.models.amateur_models.values() if isinstance(one, TunedLens)]
    line = f"{FLATTERED} {{}} of these prompts: expect less of it elsewhere"
    seen = [line.format(count) for lens in lenses if (count := sum(document_of(one) in lens.trained_on for one in ids))]
    samples = max(one.config.search.samples for one in study.settings)
    return [study.prompts.describe(), *seen, *sample_notes(samples)]
