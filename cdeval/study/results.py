"""From decoded points to a study's results: scores beside those of all other finished points, then tables and report.

    points of this command + finished points of others -> scores -> run folders -> table, comparisons, report

What an earlier command found out about the same texts by the same means is taken from the run folders (`scores.npz`).
MAUVE clusters the texts of all arms together, so that arms of an earlier command get new values when others join them.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from cdeval.config.enums import Ban
from cdeval.config.points import Point, Role
from cdeval.config.schema import RunConfig
from cdeval.errors import CdevalError, StorageError
from cdeval.metrics.compare import Settings
from cdeval.metrics.judges import open_judges
from cdeval.metrics.pairing import compare_kept
from cdeval.metrics.perplexity import with_known_logprobs
from cdeval.metrics.recall import Before
from cdeval.metrics.scorefile import SCORES, ArmScores, digest_of, of_estimates, read_scores, texts_digest, to_bytes
from cdeval.metrics.suite import Scored, chosen_metrics, score_study
from cdeval.models.loading import LanguageModel
from cdeval.records import Comparison, Estimate, Generation, Prompt
from cdeval.report.differences import differences_markdown
from cdeval.report.finished import Finished, Group, all_finished, controls_among, of_point
from cdeval.report.publish import publish
from cdeval.report.studyfiles import Shown, read_shown, read_study, write_shown
from cdeval.report.summary import cost_notes, exit_notes, notes_of, summary_of
from cdeval.report.table import Row, markdown_table
from cdeval.store.folder import RunFolder, replace_file
from cdeval.store.private import masked
from cdeval.store.strict_json import estimate_from_json, to_page
from cdeval.study.texts import in_order

METRICS_FILE = "metrics.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command shows: all finished points of a study."""

    rows: list[Row]
    comparisons: list[Comparison]  # of each arm with the expert alone under the same search
    notes: list[str]  # what a reader of the table must know
    folder: Path
    failures: list[CdevalError] = field(default_factory=list)  # of settings that could not be decoded


class Decoded(NamedTuple):
    """The points that this command holds, all their texts stored."""

    folders: Mapping[Point, RunFolder]
    texts: Mapping[Point, Sequence[Generation]]
    costs: Mapping[Point, Mapping[str, float]]
    group: Group


class _Arm(NamedTuple):
    """A point that is scored in this turn."""

    point: Finished
    texts: Sequence[Generation]
    costs: Mapping[str, float]
    before: Before


def write_results(
    decoded: Decoded, prompts: Sequence[Prompt], expert: LanguageModel, config: RunConfig, made: Sequence[str]
) -> Outcome:
    """Score the points of this command together with the finished ones of their group, and write all results.

    To be called within `finished.scoring_turn`.

    Args:
        decoded: the points of this command.
        prompts: that they continue.
        expert: which wrote the texts and scores them.
        config: what the points share.
        made: lines on how this command's texts were made.

    Raises: CdevalError: as `score_study`. StorageError: the disk refuses.
    """
    root = Path(config.runs) / config.study
    every = all_finished(root, [of_point(point, decoded.group) for point in decoded.folders])
    mine = {point.digest: point for point in decoded.folders}
    arms = _mine(decoded, every) + _others(root, [one for one in every if one.digest not in mine], decoded, prompts)
    scored = _scored(arms, expert, config, root)
    for arm in arms:
        _keep(arm, scored, root, decoded.folders.get(mine[arm.point.digest]) if arm.point.digest in mine else None)
    kept = _current(arms, scored)
    kept |= {one.label: read_scores(root / one.folder) for one in every if one.group and one.label not in kept}
    settings = Settings(config.metrics.confidence, config.metrics.bootstrap_draws, config.seed)
    comparisons, digest = _compared(root, kept, controls_among(every), settings, config)
    return write_tables(root, every, comparisons, made, digest)


def write_tables(
    root: Path, every: Sequence[Finished], comparisons: Sequence[Comparison], made: Sequence[str], digest: str = ""
) -> Outcome:
    """What the screen shows of all finished points, as files of the study, and the report that is made of them.

    To be called within `finished.scoring_turn`, which keeps other processes from writing the same files. The ledger is
    not locked meanwhile: drawing takes seconds, and others enter their points there.

    Args:
        root: the study's folder.
        every: its finished points, as `finished.all_finished` orders them.
        comparisons: of all of them.
        made: lines on how this command's points were made; those of earlier commands stay.
        digest: of what the comparisons were made of; empty where that is not known.

    Raises: StorageError: a file is broken, or the disk refuses.
    """
    rows = [Row(one.label, one.role, RunFolder(root / one.folder).summary(), one.folder) for one in every]
    scores = {one.label: _stored_scores(root / one.folder) for one in every}
    costs = {row.label: row.summary for row in rows}
    before = read_shown(root)
    lines = list(dict.fromkeys(map(masked, [*(before.made if before else ()), *made])))
    notes = [*lines, *exit_notes(costs), *cost_notes(costs), *notes_of(scores)]
    write_shown(root, Shown(rows, notes, comparisons, lines, digest))
    study = read_study(root)
    tables = [markdown_table(study.rows, study.notes), differences_markdown(study.comparisons)]
    replace_file(root / "table.md", "\n".join(filter(None, tables)).encode())
    publish(study)
    return Outcome(study.rows, list(study.comparisons), list(study.notes), root)


def _mine(decoded: Decoded, every: Sequence[Finished]) -> list[_Arm]:
    """The points of this command, which are scored by all metrics that are asked for."""
    by_digest = {point.digest: point for point in decoded.folders}
    found = []
    for one in every:
        point = by_digest.get(one.digest)
        if point is not None:
            texts = with_known_logprobs(decoded.texts[point], None if point.setting is None else point.setting.ban)
            kept = _known(decoded.folders[point].path, texts)
            found.append(_Arm(one, texts, decoded.costs[point], Before(kept)))
    return found


def _others(root: Path, others: Iterable[Finished], decoded: Decoded, prompts: Sequence[Prompt]) -> list[_Arm]:
    """The finished points of the same group, which are scored again only by metrics that they have been scored by."""
    found = []
    for one in others:
        if one.group != decoded.group:
            continue
        folder = RunFolder(root / one.folder)
        with suppress(
            StorageError
        ):  # a broken folder keeps its numbers, and its own command says what is wrong with it
            ban = Ban((one.setting or {})["ban"]) if one.setting else None
            texts = with_known_logprobs(in_order(folder.generations(), prompts, one.samples), ban)
            kept = _known(folder.path, texts)
            found.append(_Arm(one, texts, _costs(folder), Before(kept, frozenset(kept.scores))))
    return found


def _scored(arms: Sequence[_Arm], expert: LanguageModel, config: RunConfig, root: Path) -> Scored:
    human = next((arm.texts for arm in arms if arm.point.role == Role.human.value), None)
    judges = open_judges(chosen_metrics(config.metrics), config.metrics, expert, root, wrote=True)
    texts = {arm.point.label: arm.texts for arm in arms}
    before = {arm.point.label: arm.before for arm in arms}
    return score_study(texts, human, judges, config.metrics, config.seed, config.protocol, before=before)


def _keep(arm: _Arm, scored: Scored, root: Path, held: RunFolder | None) -> None:
    """Write what was found out about a point; another process that writes its folder scores it again itself."""
    label, kept = arm.point.label, scored.kept[arm.point.label]
    folder = held or RunFolder(root / arm.point.folder)
    if folder.done and _made_of(kept) == _made_of(arm.before.kept) and to_page(arm.costs) == to_page(_costs(folder)):
        return
    if held is not None:
        _write(held, arm, scored.scores[label], kept)
        return
    with suppress(StorageError), folder:
        _write(folder, arm, scored.scores[label], kept)


def _made_of(kept: ArmScores) -> dict[str, str]:
    return {name: one.made_of for name, one in kept.scores.items()}


def _write(folder: RunFolder, arm: _Arm, scores: Mapping[str, Estimate], kept: ArmScores) -> None:
    folder.write_json(METRICS_FILE, scores)
    folder.write_bytes(SCORES, to_bytes(kept))
    folder.write_json("divergence.json", list(kept.curve))
    folder.write_json("costs.json", arm.costs)
    folder.finish(summary_of(len(arm.texts), scores, arm.costs))


def _known(path: Path, texts: Sequence[Generation]) -> ArmScores:
    """What is kept of a point; of one that an older cdeval scored, its numbers alone."""
    kept = read_scores(path)
    older = {name: one for name, one in _stored_scores(path).items() if name not in kept.scores}
    return replace(kept, scores={**of_estimates(older, texts_digest(texts)).scores, **kept.scores})


def _stored_scores(path: Path) -> dict[str, Estimate]:
    """Of metrics.json; nothing where it is missing or broken: it is written anew when the point is scored."""
    with suppress(StorageError, ValueError, KeyError, TypeError, AttributeError):
        record: dict[str, Any] = RunFolder(path).read_mapping(METRICS_FILE)
        return {name: estimate_from_json(found) for name, found in record.items()}
    return {}


def _costs(folder: RunFolder) -> dict[str, float]:
    with suppress(StorageError):
        return folder.numbers("costs.json")
    return {}


def _current(arms: Sequence[_Arm], scored: Scored) -> dict[str, ArmScores]:
    return {arm.point.label: scored.kept[arm.point.label].current(texts_digest(arm.texts)) for arm in arms}


def _compared(
    root: Path, kept: Mapping[str, ArmScores], against: Mapping[str, str], settings: Settings, config: RunConfig
) -> tuple[list[Comparison], str]:
    """The comparisons of all points; those that are stored where they were made of the same scores."""
    made_of = {label: _made_of(found) for label, found in kept.items()}
    whole = all(digest for found in made_of.values() for digest in found.values())
    digest = digest_of([made_of, dict(against), list(settings), config.protocol.diversity.name]) if whole else ""
    before = read_shown(root)
    if digest and before is not None and before.digest == digest:
        return list(before.comparisons), digest
    return compare_kept(kept, against, settings, config.protocol), digest
