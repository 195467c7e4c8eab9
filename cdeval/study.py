"""The whole experiment on one page: configuration in, run folders and a table's rows out.

    prompts -> points (arms, controls, human) -> texts on disk -> scores and costs -> summaries on disk -> trackers

Cheap checks come before weights are read, texts are stored before they are scored, and results are on disk before a
tracker hears of them. Texts that are already stored are reused: the same command continues where it stopped. Settings
that differ in amateur, contrast and search alone are one study, with the same models, prompts, passes and codebook.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import yaml

from cdeval.cast import Cast, OpenedCast, load_together, open_cast
from cdeval.choices import Ban, Tracker
from cdeval.config import RunConfig
from cdeval.cost.room import lanes_at_once
from cdeval.costing import Costly, costs_of, keep_costs, kept_costs
from cdeval.decode.sources import Second
from cdeval.errors import CdevalError, ConfigError
from cdeval.generating import Room, Texts, write_texts
from cdeval.lenses.temperature import Calibration, with_temperature
from cdeval.metrics.judges import open_judges
from cdeval.metrics.perplexity import without_logprobs
from cdeval.metrics.suite import Scored, chosen_metrics, score_study
from cdeval.models.lens import TunedLens
from cdeval.models.loading import LanguageModel, open_model
from cdeval.points import Point, Role, amateur_of, controls_of, plan_points, prompts_digest
from cdeval.prompts import PromptSet
from cdeval.provenance import provenance
from cdeval.records import Amateur, Comparison, Prompt
from cdeval.reporting.differences import differences_markdown
from cdeval.reporting.publish import write_report
from cdeval.reporting.studyfiles import write_shown
from cdeval.reporting.summary import cost_notes, exit_notes, notes_of, sample_notes, summary_of
from cdeval.reporting.table import Row, markdown_table
from cdeval.store import RunFolder, replace_file
from cdeval.tracking import Point as TrackedPoint
from cdeval.tracking import track_point

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command shows."""

    rows: list[Row]
    comparisons: list[Comparison]  # of each arm with the expert alone under the same search
    notes: list[str]  # what a reader of the table must know
    folder: Path
    failures: list[CdevalError]  # of settings that could not be decoded; the others went on


class Asked(NamedTuple):
    """One setting."""

    config: RunConfig  # checked
    plain: Mapping[str, object]  # the same as plain values, for its run folder


def run_study(asked: Sequence[Asked], say: Callable[[str], None]) -> Outcome:
    """Decode, score and price settings beside their controls.

    Args:
        asked: settings that differ in amateur, contrast and search alone, and make texts of one length.
        say: takes one line of progress at a time.

    Raises: CdevalError: a user's mistake or a missing prerequisite that leaves nothing to decode, or one that all
        settings share; whatever was generated before it stays on disk.
    """
    common = asked[0].config
    chosen_metrics(common.metrics)  # a misspelt name costs no weights
    failures: list[CdevalError] = []
    shared = open_model(common.expert)
    opened = _working(asked, lambda one: _Opened(open_cast(one.config, shared), one.plain), failures)
    prompts = opened[0].cast.prompts()
    opened = _working(opened, lambda one: one.fitting(prompts), failures)
    say(prompts.describe())
    cast = load_together([one.cast for one in opened], prompts)
    expert = cast.expert
    say(f"expert {expert.name}: {expert.parts.depth} blocks, {expert.dtype_name} on {expert.device}")
    settings = _working(opened, lambda one: _fitted(one, cast, prompts, say), failures)
    room = _room([one.config for one in settings], expert, prompts)
    points = plan_points([one.config for one in settings], cast.identity, prompts.prompts)
    root = Path(common.runs) / common.study
    with _open_folders(points, root) as folders:
        plains = {point: {**settings[place].plain, "point": point.facts()} for point, place in points.items()}
        facts = {point: _facts(settings[place], cast, room) for point, place in points.items()}
        _write_inputs(folders, plains, facts, prompts.prompts)
        texts = write_texts(cast, room, prompts.prompts, folders, say)
        say("scoring")
        scored = _scored(expert, common, texts, root)
        scores = scored.scores
        casts = [one.cast for one in opened]
        costs = kept_costs(folders, common, root) or costs_of(folders, texts, Costly(cast, casts, prompts, common), say)
        summaries = {point: summary_of(len(texts[point]), scores[point.label], costs[point]) for point in points}
        for point, folder in folders.items():
            folder.write_json("metrics.json", scores[point.label])
            folder.write_json("divergence.json", scored.curves.get(point.label, []))
            folder.write_json("costs.json", costs[point])
            folder.finish(summaries[point])
        keep_costs(points, common, root)
    samples = max(one.config.search.samples for one in settings)
    made = [prompts.describe(), *_seen_by_lens(cast.seconds, prompts), *sample_notes(samples)]
    by_label = {point.label: costs[point] for point in points}
    made += [*exit_notes(by_label), *cost_notes(by_label)]
    notes = [*made, *notes_of(scores), *_tracked(common, plains, root, texts, summaries)]
    rows = [Row(point.label, point.role.value, summaries[point], point.folder) for point in points]
    outcome = Outcome(rows, scored.comparisons, notes, root, failures)
    write_tables(outcome)
    return outcome


def write_tables(outcome: Outcome) -> None:
    """What the screen shows, as files of the study, and the report that is made of them."""
    write_shown(outcome.folder, outcome.rows, outcome.notes, outcome.comparisons)
    tables = [markdown_table(outcome.rows, outcome.notes), differences_markdown(outcome.comparisons)]
    replace_file(outcome.folder / "table.md", "\n".join(filter(None, tables)).encode())
    write_report(outcome.folder)


class _Opened(NamedTuple):
    """A setting whose models are found."""

    cast: OpenedCast
    plain: Mapping[str, object]

    def fitting(self, prompts: PromptSet) -> "_Opened":
        """Itself. Raises: ModelError: the prompts are too long for its models."""
        self.cast.check(prompts)
        return self


def _working(items: Iterable[T], act: Callable[[T], U], failures: list[CdevalError]) -> list[U]:
    """What the settings come to that can be acted on; what is wrong with the others joins the failures.

    Raises: CdevalError: none is left.
    """
    found = []
    for item in items:
        try:
            found.append(act(item))
        except CdevalError as error:
            failures.append(error)
    if not found:
        raise failures[0] if len(failures) == 1 else ConfigError("\n  ".join(map(str, failures)))
    return found


class _Fitted(NamedTuple):
    """A setting in numbers."""

    config: RunConfig
    temperature: Calibration | None  # where it was to be calibrated
    plain: Mapping[str, object]


def _fitted(one: _Opened, cast: Cast, prompts: PromptSet, say: Callable[[str], None]) -> _Fitted:
    ids = [prompt.id for prompt in prompts.prompts]
    return _Fitted(*with_temperature(one.cast.config, cast.expert, cast.seconds, ids, say), one.plain)


def _seen_by_lens(seconds: Mapping[Amateur, Second], prompts: PromptSet) -> list[str]:
    """A warning where prompts begin texts that a lens was trained on."""
    ids = {prompt.id for prompt in prompts.prompts}
    counts = [len(ids & lens.trained_on) for lens in seconds.values() if isinstance(lens, TunedLens)]
    line = "the lens was trained on the texts of {} of these prompts: expect less of it elsewhere"
    return [line.format(count) for count in counts if count]


def _room(configs: Sequence[RunConfig], expert: LanguageModel, prompts: PromptSet) -> Room:
    """How many lanes of each width fit, whatever amateur they have."""
    longest = max(len(prompt.token_ids) for prompt in prompts.prompts) + configs[0].search.max_new_tokens
    rows: dict[int, int] = {}
    for config in configs:
        search, own = config.search, amateur_of(config.amateur).head_rows
        exits = search.adaptive_exit.threshold is not None
        rows[search.beams] = max(rows.get(search.beams, 1), own + exits)
    execution = configs[0].execution
    lanes = {beams: lanes_at_once(execution, expert, beams, longest, most) for beams, most in rows.items()}
    return Room(lanes, execution.compact_every)


@contextmanager
def _open_folders(points: Iterable[Point], root: Path) -> Iterator[dict[Point, RunFolder]]:
    with ExitStack() as stack:
        yield {point: stack.enter_context(RunFolder(root / point.folder)) for point in points}


def _facts(setting: _Fitted, cast: Cast, room: Room) -> dict[str, object]:
    """What the texts are made by."""
    expert, second = cast.expert, cast.seconds.get(amateur_of(setting.config.amateur))
    return {
        "expert": expert.name,
        "revision": expert.revision,
        "fingerprint": expert.fingerprint,
        "architecture": expert.model.config.model_type,
        "dtype": expert.dtype_name,
        "device": str(expert.device),
        "max_lanes": room.lanes[setting.config.search.beams],
        "lens": {"digest": second.digest, **second.facts} if isinstance(second, TunedLens) else None,
        "temperature": setting.temperature,
    }


def _write_inputs(
    folders: Mapping[Point, RunFolder],
    plains: Mapping[Point, Mapping[str, object]],
    facts: Mapping[Point, Mapping[str, object]],
    prompts: Sequence[Prompt],
) -> None:
    """What was asked for and what it ran on, before the first token."""
    digest = prompts_digest(prompts)
    for point, folder in folders.items():
        folder.write_text("config.yaml", yaml.safe_dump(plains[point], sort_keys=False, allow_unicode=True))
        if not folder.generations():  # what made the texts stays on record when they are only scored again
            folder.write_json("provenance.json", {**provenance(facts[point], digest), "point": point.facts()})


def _scored(expert: LanguageModel, config: RunConfig, texts: Texts, root: Path) -> Scored:
    human = next((found for point, found in texts.items() if point.role is Role.human), None)
    judges = open_judges(chosen_metrics(config.metrics), config.metrics, expert, root, wrote=True)
    # A text that ended by itself counts its end-of-text token, which is not among its tokens.
    ended = {point for point in texts if point.setting is not None and point.setting.ban is Ban.none}
    arms = {point.label: without_logprobs(found) if point in ended else found for point, found in texts.items()}
    return score_study(arms, human, judges, config.metrics, config.seed, config.protocol, against=controls_of(texts))


def _tracked(
    config: RunConfig,
    plains: Mapping[Point, dict[str, object]],
    root: Path,
    texts: Texts,
    summaries: Mapping[Point, Mapping[str, float]],
) -> list[str]:
    """Tell the tracker; returns what went wrong there, a line a point."""
    if config.tracking.kind is Tracker.none:
        return []
    problems = (
        track_point(
            config.tracking,
            TrackedPoint(
                config.study,
                point.label,
                root / point.folder,
                plains[point],
                summaries[point],
                texts[point],
            ),
        )
        for point in texts
    )
    return [problem for problem in problems if problem is not None]
