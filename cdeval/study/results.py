"""Results of a study: its points are scored beside all other finished ones, then tables and a report are written.

    points of this command + finished points of others -> scores -> run folders -> table, comparisons, report

What an earlier command found out about the same texts by the same means is taken from the run folders (`scores.npz`).
MAUVE clusters the texts of all arms together, so that arms of an earlier command get new values when others join them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from cdeval.config.enums import Ban
from cdeval.config.metrics import needs_of
from cdeval.config.plugins import loaded_plugins
from cdeval.config.points import Point, Role, prompts_digest
from cdeval.config.schema import RunConfig
from cdeval.errors import CdevalError, StorageError
from cdeval.metrics.compare import Settings
from cdeval.metrics.judges.likelihood import with_known_logprobs
from cdeval.metrics.judges.opening import open_judges
from cdeval.metrics.pairing import compare_kept
from cdeval.metrics.recall import Before
from cdeval.metrics.registry import chosen_metrics
from cdeval.metrics.scorefile import SCORES, ArmScores, digest_of, of_estimates, read_scores, texts_digest, to_bytes
from cdeval.metrics.suite import Scored, score_study
from cdeval.records import Comparison, Estimate, Generation, Prompt
from cdeval.report.answer import answer, asked_metrics
from cdeval.report.differences import differences_markdown
from cdeval.report.finished import Finished, Group, all_finished, controls_among, finished_point
from cdeval.report.publish import publish
from cdeval.report.studyfiles import Shown, read_shown, read_study, write_shown
from cdeval.report.summary import cost_notes, exit_notes, flops_notes, notes_of, summary_of
from cdeval.report.table import Row, markdown_table
from cdeval.store.folder import RunFolder, replace_file
from cdeval.store.private import masked
from cdeval.store.sessions import record_plugins
from cdeval.store.strict_json import estimate_from_json, to_page
from cdeval.study.open import LoadedStudy
from cdeval.study.run_folders import Texts, in_order

METRICS_FILE = "metrics.json"


@dataclass(frozen=True, slots=True)
class StudyResult:
    """Results of all finished points of a study, as a command shows them."""

    rows: list[Row]
    comparisons: list[Comparison]  # of each arm with the expert alone under the same search
    notes: list[str]  # what a reader of the table must know
    folder: Path
    failures: list[CdevalError] = field(default_factory=list)  # of settings that could not be decoded
    folders: Sequence[str | None] = ()  # the run folder of each request, by name; None: it failed
    verdict: str = ""  # what was found, in one sentence
    only: Sequence[str] = ()  # metrics that were asked for; empty: those of every table
    warnings: Sequence[str] = ()  # what a tracker lacks


class _ScoredPoint(NamedTuple):
    """A point that is scored in this turn."""

    point: Finished
    texts: Sequence[Generation]
    costs: Mapping[str, float]
    before: Before
    folder: RunFolder | None  # that this process holds


class StudyScores(NamedTuple):
    """Scores of the points of this command and of the others of their group."""

    every: Sequence[Finished]  # all finished points of the study, in its order
    points: Sequence[_ScoredPoint]
    scored: Scored


def merged(results: Sequence[StudyResult]) -> list[StudyResult]:
    """Keep one result a folder: the last one, which shows all points of the study, with what went wrong in all."""
    found: dict[str, StudyResult] = {}
    for result in results:
        before = found.get(str(result.folder))
        failures = [*(before.failures if before else []), *result.failures]
        warnings = [*(before.warnings if before else []), *result.warnings]
        found[str(result.folder)] = replace(result, failures=failures, warnings=warnings)
    return list(found.values())


def score_points(
    study: LoadedStudy, folders: Mapping[Point, RunFolder], texts: Texts, costs: Mapping[Point, Mapping[str, float]]
) -> StudyScores:
    """Score the points of this command together with the finished ones of their group.

    To be called within `finished.scoring_turn`.

    Args:
        study: whose expert wrote the texts and scores them.
        folders: of the points of this command, held, with all their texts.
        texts: of these points.
        costs: of these points.

    Raises: CdevalError: as `score_study`. StorageError: the disk refuses.
    """
    expert, prompts, config = study.models.expert, study.prompts.prompts, study.config
    group = Group(prompts_digest(prompts), expert.fingerprint, expert.dtype_name)
    every = all_finished(study.root, [finished_point(point, group) for point in folders])
    own = {point.digest: point for point in folders}
    others = [one for one in every if one.digest not in own and one.group == group]
    points = [
        _own_point(one, point, folders[point], texts[point], costs[point])
        for one in every
        if (point := own.get(one.digest)) is not None
    ]
    points += [found for one in others if (found := _other_point(study.root, one, prompts)) is not None]
    human = next((one.texts for one in points if one.point.role == Role.human.value), None)
    judges = open_judges(
        needs_of(chosen_metrics(config.metrics)), config.metrics, expert, study.root, wrote=True, say=study.say
    )
    of_label = {one.point.label: one.texts for one in points}
    before = {one.point.label: one.before for one in points}
    scored = score_study(of_label, human, judges, config.metrics, config.seed, config.protocol, before=before)
    return StudyScores(every, points, scored)


def write_points(study: LoadedStudy, scores: StudyScores) -> None:
    """Write what was found out about each point into its run folder.

    Another process that writes the folder of a point scores it again itself.

    Raises: StorageError: the disk refuses.
    """
    for one in scores.points:
        label, kept = one.point.label, scores.scored.kept[one.point.label]
        folder = one.folder or RunFolder(study.root / one.point.folder)
        same = _made_of(kept) == _made_of(one.before.kept) and to_page(one.costs) == to_page(_costs(folder))
        if folder.done and same:
            continue
        if one.folder is not None:
            _write(folder, one, scores.scored.scores[label], kept)
            continue
        with suppress(StorageError), folder:
            _write(folder, one, scores.scored.scores[label], kept)


def write_report(study: LoadedStudy, scores: StudyScores, made: Sequence[str]) -> StudyResult:
    """Compare all points of the study, and write its tables and its report.

    To be called within `finished.scoring_turn`.

    Args:
        study: whose points they are.
        scores: of the points of this command.
        made: lines on how this command's texts were made.

    Raises: StorageError: a file is broken, or the disk refuses.
    """
    root, config = study.root, study.config
    kept = {
        one.point.label: scores.scored.kept[one.point.label].current(texts_digest(one.texts)) for one in scores.points
    }
    kept |= {one.label: read_scores(root / one.folder) for one in scores.every if one.group and one.label not in kept}
    settings = Settings(config.metrics.confidence, config.metrics.bootstrap_draws, config.seed)
    comparisons, digest = _compared(root, kept, controls_among(scores.every), settings, config, study.say)
    result = write_tables(root, scores.every, comparisons, made, digest, study.say)
    return replace(result, only=config.metrics.only)


def write_tables(
    root: Path,
    every: Sequence[Finished],
    comparisons: Sequence[Comparison],
    made: Sequence[str],
    digest: str,
    say: Callable[[str], None],
) -> StudyResult:
    """Write tables of all finished points into the study's folder, and the report that is made of them.

    To be called within `finished.scoring_turn`, which keeps other processes from writing the same files. The ledger is
    not locked meanwhile: drawing takes seconds, and others enter their points there.

    Args:
        root: the study's folder.
        every: its finished points, as `finished.all_finished` orders them.
        comparisons: of all of them.
        made: lines on how this command's points were made; those of earlier commands stay.
        digest: of what the comparisons were made of; empty where that is not known.
        say: takes lines of progress.

    Raises: StorageError: a file is broken, or the disk refuses.
    """
    rows = [Row(one.label, one.role, RunFolder(root / one.folder).summary(), one.folder) for one in every]
    scores = {one.label: _stored_scores(root / one.folder) for one in every}
    costs = {row.label: row.summary for row in rows}
    settings = {one.label: one.setting for one in every}
    before = read_shown(root)
    lines = list(dict.fromkeys(map(masked, [*(before.made if before else ()), *made])))
    notes = [*lines, *exit_notes(costs), *flops_notes(settings, costs), *cost_notes(costs), *notes_of(scores)]
    write_shown(root, Shown(rows, notes, comparisons, lines, digest))
    study = read_study(root)
    table = markdown_table(study.rows, study.notes, only=asked_metrics(study))
    tables = [table, differences_markdown(study.comparisons, study.families)]
    replace_file(root / "table.md", "\n".join(filter(None, tables)).encode())
    publish(study, say)
    return StudyResult(study.rows, list(study.comparisons), list(study.notes), root, verdict=answer(study))


def _own_point(
    one: Finished, point: Point, folder: RunFolder, stored: Sequence[Generation], costs: Mapping[str, float]
) -> _ScoredPoint:
    """Prepare a point of this command, which is scored by all metrics that are asked for."""
    texts = with_known_logprobs(stored, None if point.setting is None else point.setting.ban)
    return _ScoredPoint(one, texts, costs, Before(_known(folder.path, texts)), folder)


def _other_point(root: Path, one: Finished, prompts: Sequence[Prompt]) -> _ScoredPoint | None:
    """Prepare a finished point of the same group, which is scored again only by metrics that it was scored by.

    Returns: None for a broken folder: it keeps its numbers, and its own command says what is wrong with it.
    """
    folder = RunFolder(root / one.folder)
    with suppress(StorageError):
        ban = Ban((one.setting or {})["ban"]) if one.setting else None
        texts = with_known_logprobs(in_order(folder.generations(), prompts, one.samples), ban)
        kept = _known(folder.path, texts)
        return _ScoredPoint(one, texts, _costs(folder), Before(kept, frozenset(kept.scores)), None)
    return None


def _made_of(kept: ArmScores) -> dict[str, str]:
    return {name: one.made_of for name, one in kept.scores.items()}


def _write(folder: RunFolder, one: _ScoredPoint, scores: Mapping[str, Estimate], kept: ArmScores) -> None:
    folder.write_json(METRICS_FILE, kept.page(scores))
    folder.write_bytes(SCORES, to_bytes(kept))
    folder.write_json("divergence.json", list(kept.curve))
    folder.write_json("costs.json", one.costs)
    record_plugins(folder, loaded_plugins())
    folder.finish(summary_of(len(one.texts), scores, one.costs))


def _known(path: Path, texts: Sequence[Generation]) -> ArmScores:
    """Read the stored scores of a point; of one that an older cdeval scored, its numbers alone."""
    kept = read_scores(path)
    older = {name: one for name, one in _stored_scores(path).items() if name not in kept.scores}
    return replace(kept, scores={**of_estimates(older, texts_digest(texts)).scores, **kept.scores})


def _stored_scores(path: Path) -> dict[str, Estimate]:
    """Read metrics.json; a missing or broken one holds nothing and is written anew when the point is scored."""
    with suppress(StorageError, ValueError, KeyError, TypeError, AttributeError):
        record: dict[str, Any] = RunFolder(path).read_mapping(METRICS_FILE)
        return {name: estimate_from_json(found) for name, found in record.items()}
    return {}


def _costs(folder: RunFolder) -> dict[str, float]:
    with suppress(StorageError):
        return folder.numbers("costs.json")
    return {}


def _compared(
    root: Path,
    kept: Mapping[str, ArmScores],
    against: Mapping[str, str],
    settings: Settings,
    config: RunConfig,
    say: Callable[[str], None],
) -> tuple[list[Comparison], str]:
    """Compare all points; comparisons that are stored and were made of the same scores are read."""
    made_of = {label: _made_of(found) for label, found in kept.items()}
    whole = all(digest for found in made_of.values() for digest in found.values())
    digest = digest_of([made_of, dict(against), list(settings), config.protocol.diversity.name]) if whole else ""
    before = read_shown(root)
    if digest and before is not None and before.digest == digest:
        return list(before.comparisons), digest
    return compare_kept(kept, against, settings, config.protocol, say), digest
