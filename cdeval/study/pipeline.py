"""The whole experiment on one page: configuration in, run folders and a table's rows out.

    prompts -> points (arms, controls, human) -> texts on disk -> scores and costs -> summaries on disk -> trackers

Cheap checks come before weights are read, texts are stored before they are scored, and results are on disk before a
tracker hears of them. Texts that are already stored are reused: the same command continues where it stopped. Settings
that differ in amateur, contrast and search alone are one study, with the same models, prompts, passes and codebook.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cdeval.config.enums import Executor, Tracker
from cdeval.config.points import Point, plan_points, prompts_digest
from cdeval.config.schema import AUTO, RunConfig
from cdeval.config.setting import Amateur, amateur_of
from cdeval.cost.room import lanes_at_once
from cdeval.decode.sources import Second
from cdeval.metrics.judges import find_judges
from cdeval.metrics.suite import chosen_metrics
from cdeval.models.lens import TunedLens
from cdeval.models.loading import LanguageModel
from cdeval.prompts import PromptSet
from cdeval.report.boards import study_run
from cdeval.report.finished import Group, scoring_turn
from cdeval.report.summary import sample_notes
from cdeval.report.sweep import axes_of
from cdeval.report.wandb import point_run, track
from cdeval.store.folder import RunFolder
from cdeval.store.ledger import Capacity, Ledger
from cdeval.store.sessions import by_sample
from cdeval.study.costs import Costly, costs_of, keep_costs, kept_costs
from cdeval.study.open import Asked, Opened, Ready, open_settings, together
from cdeval.study.point_store import Keeper, Study
from cdeval.study.ray import Remote, remote_of
from cdeval.study.results import Decoded, Outcome, write_results
from cdeval.study.texts import Texts, read_texts


def run_study(asked: Sequence[Asked], say: Callable[[str], None]) -> Outcome:
    """Decode, score and price settings beside their controls.

    Args:
        asked: settings that differ in amateur, contrast and search alone, and make texts of one length.
        say: takes one line of progress at a time.

    Raises: CdevalError: a user's mistake or a missing prerequisite that leaves nothing to decode, or one that all
        settings share; whatever was generated before it stays on disk. Stopped: an end was wanted, likewise.
    """
    common = asked[0].config
    find_judges(chosen_metrics(common.metrics), common.metrics)  # a misspelt name costs no weights
    root = Path(common.runs) / common.study
    ledger = Ledger(root, say)
    opened = open_settings(asked, ledger, say)
    models, prompts, settings = opened.models, opened.prompts, opened.settings
    expert = models.expert
    planned = plan_points([one.config for one in settings], models.identity, prompts.prompts)
    remote = None
    if common.execution.kind is Executor.ray:
        remote = remote_of(common.execution, [one.config for one in settings], models, prompts)
    room, quiet = _room(settings, expert, prompts), common.tracking.quiet
    study = Study(models, remote, prompts.prompts, room, root, common.retry, say, quiet)
    plains = {point: {**settings[place].plain, "point": point.facts()} for point, place in planned.items()}
    facts = {point: _facts(settings[place], opened, remote) for point, place in planned.items()}
    keeper = Keeper(study, ledger, facts, plains)
    _say_of_samples(root, expert, say)
    with keeper.complete() as folders:
        failures = [*opened.failures, *keeper.errors]
        points = list(folders)
        if all(point.setting is None for point in points):
            raise together(failures)
        texts = read_texts(folders, prompts.prompts)
        what = Costly(models, opened.opened, prompts, common)
        costs = kept_costs(folders, common, root, say) or costs_of(folders, texts, what, say)
        made = [prompts.describe(), *_seen_by_lens(models.seconds, prompts)]
        made += sample_notes(max(one.config.search.samples for one in settings))
        with scoring_turn(root, say):
            say("scoring")
            group = Group(prompts_digest(prompts.prompts), expert.fingerprint, expert.dtype_name)
            outcome = write_results(Decoded(folders, texts, costs, group), prompts.prompts, expert, common, made)
            with ledger.locked():
                keep_costs(costs, common, root)
            keeper.done(points)
    shown = replace(outcome, failures=failures)
    return replace(shown, notes=[*shown.notes, *_tracked(common, plains, root, texts)])


def _seen_by_lens(seconds: Mapping[Amateur, Second], prompts: PromptSet) -> list[str]:
    """A warning where prompts begin texts that a lens was trained on."""
    ids = {prompt.id for prompt in prompts.prompts}
    counts = [len(ids & lens.trained_on) for lens in seconds.values() if isinstance(lens, TunedLens)]
    line = "the lens was trained on the texts of {} of these prompts: expect less of it elsewhere"
    return [line.format(count) for count in counts if count]


def _room(settings: Sequence[Ready], expert: LanguageModel, prompts: PromptSet) -> Capacity:
    """How many lanes of each width fit, whatever amateur they have."""
    execution, length = settings[0].config.execution, settings[0].config.search.max_new_tokens
    longest = max(len(prompt.token_ids) for prompt in prompts.prompts) + length
    rows: dict[int, int] = {}
    for config in (one.config for one in settings):
        search, own = config.search, amateur_of(config.amateur).head_rows
        exits = search.adaptive_exit.threshold is not None
        rows[search.beams] = max(rows.get(search.beams, 1), own + exits)
    lanes = {beams: lanes_at_once(execution, expert, beams, longest, most) for beams, most in rows.items()}
    return Capacity(lanes, execution.compact_every, pinned=execution.max_lanes != AUTO)


def _say_of_samples(root: Path, expert: LanguageModel, say: Callable[[str], None]) -> None:
    old = by_sample(root)
    if old:
        say(
            f"{len(old)} run folders in {root} are of an older cdeval, which knew models by a sample of their weights: "
            f"whether this {expert.name} made their texts cannot be told, so none of them is reused, and what is asked "
            "for again is decoded again. Delete them, or set another study= to keep them apart"
        )


def _facts(setting: Ready, opened: Opened, remote: Remote | None) -> dict[str, object]:
    """What the texts are made by."""
    expert, second = opened.models.expert, opened.models.seconds.get(amateur_of(setting.config.amateur))
    return {
        "expert": expert.name,
        "revision": expert.revision,
        "fingerprint": expert.fingerprint,
        "amateur": _named(second) if isinstance(second, LanguageModel) else None,
        "architecture": expert.model.config.model_type,
        "dtype": expert.dtype_name,
        "device": str(expert.device),
        "lens": {"digest": second.digest, **second.facts} if isinstance(second, TunedLens) else None,
        "temperature": setting.temperature,
        "workers": None if remote is None else remote.crew,
    }


def _named(model: LanguageModel) -> dict[str, object]:
    return {"name": model.name, "revision": model.revision, "fingerprint": model.fingerprint}


def _tracked(
    config: RunConfig,
    plains: Mapping[Point, dict[str, object]],
    root: Path,
    texts: Texts,
) -> list[str]:
    """Tell the tracker; returns what went wrong there."""
    if config.tracking.kind is Tracker.none:
        return []
    runs = [
        point_run(
            config.study,
            point.label,
            root / point.folder,
            config={**plains[point], **axes_of(point.facts()["setting"])},
            summary=RunFolder(root / point.folder).summary(),
            texts=texts[point],
        )
        for point in texts
    ]
    return track(config.tracking, root, [*runs, study_run(root)])
