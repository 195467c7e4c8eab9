"""The finding of a study, in a sentence or two made of its numbers alone.

The arm that gains most on the first metric that was compared stands for the study, before it one that gains less and is
not shown to lose anything else: raw exits are most diverse where they break the text. What is shown is Holm's corrected
p-value over every comparison that was made, so that choosing the best of many arms is paid for. Perplexity is no loss:
it is the expert's own, and whatever subtracts from the expert raises it.
"""

import math
from collections.abc import Sequence

from cdeval.records import Comparison
from cdeval.report.differences import correction
from cdeval.report.measures import COSTS, Measure, qualities
from cdeval.report.studyfiles import Arm, Kind, Study

LEVEL = 0.05


def verdict(study: Study) -> list[str]:
    """A headline, then a few sentences that qualify it; none says more than its interval does."""
    measure, found = _first_compared(study)
    best = best_of(study)
    if best is None:
        return [_without_comparison(study)]
    of_best = [one for one in study.comparisons if (one.arm, one.against) == (best.arm, best.against)]
    return [
        _headline(best, measure, study, found),
        _detail(of_best, measure, study),
        *_wider(found, measure, study),
    ]


def best_of(study: Study) -> Comparison | None:
    """The difference that the verdict speaks of; None where nothing was compared."""
    measure, found = _first_compared(study)
    unspoilt = [one for one in found if shift_of(one, measure) > 0 and not _spoilt(one, measure, study)]
    return max(unspoilt or found, key=lambda one: measure.better.way * one.difference.value, default=None)


def shift_of(one: Comparison, measure: Measure) -> int:
    """1: shown to be better than its control, −1: worse, 0: neither."""
    if math.isnan(one.p_holm) or one.p_holm >= LEVEL or not measure.better.way:
        return 0
    return 1 if measure.better.way * one.difference.value > 0 else -1


def _spoilt(best: Comparison, shown: Measure, study: Study) -> bool:
    """Whether the arm is shown to lose in what else is said of texts."""
    others = {one.name: one for one in qualities(study) if one != shown}
    pair = (best.arm, best.against)
    mine = [one for one in study.comparisons if (one.arm, one.against) == pair and one.metric in others]
    return any(shift_of(one, others[one.metric]) < 0 for one in mine)


def _first_compared(study: Study) -> tuple[Measure, list[Comparison]]:
    by_metric = [(measure, _compared(study, measure)) for measure in qualities(study) if measure.better.way]
    return next(((measure, found) for measure, found in by_metric if found), (qualities(study)[0], []))


def _compared(study: Study, measure: Measure) -> list[Comparison]:
    """The differences of arms that contrast or exit early, which studies are about; of all arms where none does."""
    found = [one for one in study.comparisons if one.metric == measure.name and math.isfinite(one.difference.value)]
    kinds = {arm.label: arm.kind for arm in study.arms}
    return [one for one in found if kinds.get(one.arm) != Kind.alone] or found


def _without_comparison(study: Study) -> str:
    texts = max((int(arm.summary.get("texts", 0)) for arm in study.arms), default=0)
    nothing = (
        "what was compared with a control has no better or worse"
        if study.comparisons
        else "nothing was compared with a control"
    )
    of = f"of up to {texts} texts; {nothing}" if texts else "priced alone; no text was scored"
    return f"{len(study.decoded)} arms {of}."


def _headline(best: Comparison, measure: Measure, study: Study, found: Sequence[Comparison]) -> str:
    arms = len(found)
    ours, theirs = (next((a for a in study.arms if a.label == label), None) for label in (best.arm, best.against))
    values = " against ".join(measure.shown(measure.value_of(arm)) for arm in (ours, theirs) if arm is not None)
    evidence = f"{measure.title} {values}, difference {_difference(best, measure)}"
    shown, better = shift_of(best, measure), measure.better.way * best.difference.value > 0
    words = said_of(measure, better=better)
    if not shown:
        if arms == 1:
            return f"{best.arm} is not shown to differ from {best.against} in {measure.title}: {evidence}."
        none = f"None of {arms} arms is shown to be {said_of(measure, better=True)} than its control"
        if len(set(values.split(" against "))) == 1:
            return f"{none}; {best.arm}, the nearest to it, is the same as its control: {evidence}."
        return f"{none}; {best.arm} is best: {evidence}."
    if arms == 1:
        return f"{best.arm} is {words} than {best.against}: {evidence}."
    if better:
        topped = any(measure.better.way * (one.difference.value - best.difference.value) > 0 for one in found)
        most = "gains most of those that are not shown to lose elsewhere" if topped else "gains most"
        return f"Of {arms} arms, {best.arm} {most}: it is {words} than {best.against}, {evidence}."
    return f"All {arms} arms are {words} than their controls; {best.arm} loses least: {evidence}."


def said_of(measure: Measure, *, better: bool) -> str:
    """An arm that is better, or worse, than another, as the metric says it of itself."""
    said = measure.more if better is (measure.better.way > 0) else measure.less
    return said or f"{'better' if better else 'worse'} in {measure.title}"


def _detail(of_best: Sequence[Comparison], shown: Measure, study: Study) -> str:
    """The other metrics of the same arm, and its price."""
    one = of_best[0]
    elsewhere, price = _elsewhere(of_best, shown, study), _price(one, study)
    return f"{one.arm}{elsewhere or ' was compared in no other metric'}{price}."


def _difference(one: Comparison, measure: Measure) -> str:
    sign = f"{one.difference.value:+.{measure.digits}f}"
    if math.isnan(one.difference.low):
        return sign
    return f"{sign} ({one.difference.low:+.{measure.digits}f} to {one.difference.high:+.{measure.digits}f})"


def _elsewhere(of_best: Sequence[Comparison], shown: Measure, study: Study) -> str:
    """Say what changed for better or worse, and what was not seen to change."""
    changed, unseen = [], []
    for measure in qualities(study):
        one = next((one for one in of_best if one.metric == measure.name), None)
        if measure == shown or one is None or not math.isfinite(one.difference.value):
            continue
        if not measure.better.way and one.p_holm < LEVEL:
            changed.append(
                f"{'higher' if one.difference.value > 0 else 'lower'} {measure.title}, {_difference(one, measure)}"
            )
        elif shift := shift_of(one, measure):
            changed.append(f"{'better' if shift > 0 else 'worse'} {measure.title}, {_difference(one, measure)}")
        else:
            unseen.append(measure.title)
    parts = [f" has {listed(changed)}"] if changed else []
    parts += [f" is not shown to differ in {listed(unseen, 'or')}"] if unseen else []
    return " and".join(parts)


def _price(best: Comparison, study: Study) -> str:
    arm = next((arm for arm in study.arms if arm.label == best.arm), None)
    prices = [] if arm is None else [_overhead(arm, name, what) for name, what in _OVERHEADS]
    return f"; it takes {listed(known)}" if (known := [price for price in prices if price]) else ""


_SAME = 0.0005  # a ratio that rounds to .0 %
_OVERHEADS = (("flops_overhead", "compute"), ("latency_overhead", "time a token"))


def _overhead(arm: Arm, name: str, what: str) -> str:
    ratio = arm.summary.get(name, math.nan)
    if not math.isfinite(ratio):
        return ""
    if abs(ratio) < _SAME:
        return f"the same {what}"
    return f"{abs(ratio):.1%} {'more' if ratio >= 0 else 'less'} {what}".replace("%", " %")


def _wider(found: Sequence[Comparison], measure: Measure, study: Study) -> list[str]:
    """Say of many arms how many differ, and which simply does better at less cost."""
    if len(found) == 1:
        return []
    shifts = [shift_of(one, measure) for one in found]
    basis = correction(study.families) or "as no comparison has a p-value"
    lines = [
        f"{shifts.count(1)} of {len(found)} arms differ from their control for the better in {measure.title} and "
        f"{shifts.count(-1)} for the worse, {basis}."
    ]
    highest = max(study.current.decoded, key=lambda arm: _ordered(measure, arm))
    cost = next((cost for cost in COSTS if cost.is_known(highest)), None)
    if cost is not None:
        lines.append(
            f"Highest {measure.title} of all decoded texts: {highest.label}, "
            f"{measure.shown(measure.value_of(highest))} at {cost.shown(cost.value_of(highest))} {cost.unit}."
        )
    return lines


def _ordered(measure: Measure, arm: Arm) -> float:
    value = measure.better.way * measure.value_of(arm)
    return value if math.isfinite(value) else -math.inf


def listed(words: Sequence[str], last: str = "and") -> str:
    """Join words as a sentence does."""
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
