"""The verdict of a study in one sentence for people who read nothing else; each word of it is computed.

It speaks of the arm that `verdict.best_of` chooses: what the arm changes against its control, at which cost, and how it
stands beside what the expert does alone when its tokens are drawn from a truncated distribution. Something is more or
less only where the corrected interval says so; all else is "not shown to differ".
"""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress

from cdeval.metrics.pairing import compare_kept
from cdeval.metrics.registry import all_metrics
from cdeval.metrics.scorefile import ArmScores, read_scores, texts_digest
from cdeval.metrics.stats import FEWEST
from cdeval.records import Comparison
from cdeval.report.measures import Measure, qualities
from cdeval.report.renewing import settings_asked
from cdeval.report.short import plain_labels
from cdeval.report.studyfiles import Arm, Kind, Study
from cdeval.report.verdict import best_of, evidence, listed, said_of, shift_of

_SAMPLE = "sample"  # the search of arms whose tokens are drawn, as their settings name it
_SEARCHES = {"beam": "under beam search", "greedy": "under greedy search"}
_SAME = 0.0005  # an overhead that rounds to .0 %


def findings(study: Study) -> list[str]:
    """The answer, as the screen and every page have it, then the sentences that qualify it."""
    return [answer(study), *evidence(study)]


def answer(study: Study) -> str:
    """Say in one sentence what the study found."""
    best = best_of(study)
    if best is None:
        return _no_answer(study)
    arms = {arm.label: arm for arm in study.current.decoded}
    names = plain_labels([arm.label for arm in study.arms])
    ours, theirs = arms[best.arm], arms[best.against]
    found = [one for one in study.comparisons if (one.arm, one.against) == (best.arm, best.against)]
    against = f"{_subject(theirs, names)} under the same search" if _alone_beside(ours, theirs) else names[theirs.label]
    sentence = f"{_subject(ours, names)}{_how(ours)} {_changes(found, study, ours, theirs, against)}{_cost(ours)}"
    return f"{sentence[0].upper()}{sentence[1:]}{_beside_rival(study, ours, theirs, names)}."


def asked_metrics(study: Study) -> list[str]:
    """Read which metrics the study's commands asked for; empty: those of every table, or not all of them the same."""
    known = {metric.name for metric in all_metrics()}
    asked: list[list[str]] = [(arm.config.get("metrics") or {}).get("only") or [] for arm in study.decoded]
    return [name for name in asked[0] if name in known] if asked and all(one == asked[0] for one in asked) else []


def _no_answer(study: Study) -> str:
    scored = any("texts" in arm.summary for arm in study.arms)
    if not scored:
        return f"{len(study.decoded)} arms were priced and none was decoded, so there are costs and no verdict."
    if study.comparisons and all(math.isnan(one.difference.value) for one in study.comparisons):
        return f"There is no verdict: no two arms have scores of {FEWEST} prompts or more to be compared by."
    return (
        f"There is no verdict: none of the {len(study.decoded)} arms was compared with the expert alone under the same "
        "search in anything that has a better and a worse."
    )


def _subject(arm: Arm, names: Mapping[str, str]) -> str:
    if arm.kind == Kind.alone:
        return "the expert alone"
    head = names[arm.label].rpartition(", ")[0] or names[arm.label]
    exits = re.fullmatch(r"exit k=(\d+)(?: (.+))?", head)
    if exits is None:
        return head
    return f"the exit after block {exits[1]}" + (f" ({exits[2]})" if exits[2] else "")


def _how(arm: Arm) -> str:
    """Name the search of an arm, as its label does where no plain words are known."""
    search = str(arm.setting.get("search"))
    known = _SEARCHES.get(search)
    return f" {known}" if known else f", {arm.label.rpartition(', ')[2]},"


def _alone_beside(ours: Arm, theirs: Arm) -> bool:
    """Whether the control is the expert alone under the same search."""
    return theirs.kind == Kind.alone and ours.setting.get("search") == theirs.setting.get("search")


def _changes(found: Sequence[Comparison], study: Study, ours: Arm, theirs: Arm, against: str) -> str:
    shifts = _shifts(found, study)
    values = {one: f"{one.shown(one.value_of(ours))} against {one.shown(one.value_of(theirs))}" for one in shifts}
    changed, same = _told(shifts, values)
    if not changed:
        return f"is not shown to differ from {against} in {listed(same, 'or')}"
    return f"is {listed(changed)} than {against}" + (
        f", and not shown to differ from it in {listed(same, 'or')}" if same else ""
    )


def _told(shifts: Mapping[Measure, int], values: Mapping[Measure, str]) -> tuple[list[str], list[str]]:
    """Word the measures that are shown to differ, and those that are not, each with its values in brackets."""
    changed = [f"{said_of(one, better=way > 0)} ({values[one]})" for one, way in shifts.items() if way]
    same = [f"{one.title} ({values[one]})" for one, way in shifts.items() if not way]
    return changed, same


def _shifts(found: Sequence[Comparison], study: Study) -> dict[Measure, int]:
    """The measures that were compared and have a better and a worse: 1 for better, −1 for worse, 0 for not shown."""
    by_metric = {one.metric: one for one in found if math.isfinite(one.difference.value)}
    ordered = [measure for measure in qualities(study) if measure.better.way and measure.name in by_metric]
    return {measure: shift_of(by_metric[measure.name], measure) for measure in ordered}


def _cost(arm: Arm) -> str:
    ratio = arm.summary.get("flops_overhead", math.nan)
    if not math.isfinite(ratio):
        return ""
    if abs(ratio) < _SAME:
        return ", for the same compute"
    return f", for {100 * abs(ratio):.2g} % {'more' if ratio > 0 else 'less'} compute"


def _beside_rival(study: Study, ours: Arm, theirs: Arm, names: Mapping[str, str]) -> str:
    """Say how the arm stands beside the drawn texts of the expert alone that are nearest to it in the first measure."""
    measure = next((one for one in qualities(study) if one.better.way and one.is_known(ours)), None)
    drawn = [
        arm
        for arm in study.current.decoded
        if arm.kind == Kind.alone and arm.setting.get("search") == _SAMPLE and arm.label != theirs.label
    ]
    known = [arm for arm in drawn if measure is not None and measure.is_known(arm)]
    if measure is None or not known:
        return ""
    rival = min(known, key=lambda arm: abs(measure.value_of(arm) - measure.value_of(ours)))
    nearest = f", of {len(known)} truncations the nearest to it in {measure.title}," if len(known) > 1 else ""
    name = names[rival.label].rpartition(", ")[2]
    shifts = _shifts(_compared(study, rival, ours), study)
    if not shifts:
        return ""
    changed, same = _told(shifts, {one: one.shown(one.value_of(rival)) for one in shifts})
    parts = [f"is {listed(changed)}"] if changed else []
    parts += [f"is not shown to differ in {listed(same, 'or')}"] if same else []
    return f"; beside it, the expert's own {name}{nearest} {listed(parts)}"


def _compared(study: Study, arm: Arm, against: Arm) -> list[Comparison]:
    """Compare two arms by the scores that their run folders keep text by text; nothing where they keep none."""
    apart = {metric.name for metric in all_metrics() if not metric.together}
    ordered = apart & {measure.name for measure in qualities(study) if measure.better.way}
    kept = {}
    for one in (arm, against):
        scores = read_scores(one.path).current(texts_digest(list(one.generations)))
        kept[one.label] = ArmScores({name: score for name, score in scores.scores.items() if name in ordered})
    with suppress(ValueError, TypeError, LookupError, AttributeError):  # damaged settings: nothing is compared
        return compare_kept(kept, {arm.label: against.label}, *settings_asked(against.config))
    return []
