"""The arm that stands for a study, and the sentences that qualify what is said of it (`answer`), made of numbers alone.

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


def evidence(study: Study) -> list[str]:
    """A few sentences with the differences and intervals behind the answer; none where nothing was compared."""
    best = best_of(study)
    if best is None:
        return []
    measure, found = _first_compared(study)
    of_best = [one for one in study.comparisons if (one.arm, one.against) == (best.arm, best.against)]
    return [_detail(of_best, study), *_wider(best, found, measure, study)]


def best_of(study: Study) -> Comparison | None:
    """The difference that the answer speaks of; None where nothing was compared, or its arms have no texts here."""
    measure, found = _first_compared(study)
    unspoilt = [one for one in found if shift_of(one, measure) > 0 and not _spoilt(one, measure, study)]
    best = max(unspoilt or found, key=lambda one: measure.better.way * one.difference.value, default=None)
    return None if best is None or not {best.arm, best.against} <= {arm.label for arm in study.decoded} else best


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


def said_of(measure: Measure, *, better: bool) -> str:
    """An arm that is better, or worse, than another, as the metric says it of itself."""
    said = measure.more if better is (measure.better.way > 0) else measure.less
    return said or f"{'better' if better else 'worse'} in {measure.title}"


def _detail(of_best: Sequence[Comparison], study: Study) -> str:
    """The differences of the arm from its control, with their intervals, and its price."""
    one = of_best[0]
    return f"{one.arm}, compared with {one.against},{_differences(of_best, study)}{_price(one, study)}."


def _difference(one: Comparison, measure: Measure) -> str:
    sign = f"{one.difference.value:+.{measure.digits}f}"
    if math.isnan(one.difference.low):
        return sign
    return f"{sign} ({one.difference.low:+.{measure.digits}f} to {one.difference.high:+.{measure.digits}f})"


def _differences(of_best: Sequence[Comparison], study: Study) -> str:
    """Say what changed for better or worse, and what was not seen to change."""
    changed, unseen = [], []
    for measure in qualities(study):
        one = next((one for one in of_best if one.metric == measure.name), None)
        if one is None or not math.isfinite(one.difference.value):
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


def _wider(best: Comparison, found: Sequence[Comparison], measure: Measure, study: Study) -> list[str]:
    """Say of many arms why one stands for them, how many differ, and which simply does better at less cost."""
    if len(found) == 1:
        return []
    shifts = [shift_of(one, measure) for one in found]
    basis = correction(study.families) or "as no comparison has a p-value"
    topped = any(measure.better.way * (one.difference.value - best.difference.value) > 0 for one in found)
    of_those = " of those that are not shown to lose elsewhere" if topped else ""
    gains = f"it gains most{of_those}" if shift_of(best, measure) > 0 else "none is shown to gain"
    lines = [
        f"Of {len(found)} arms that were compared with their control, {gains}; in {measure.title} {shifts.count(1)} "
        f"differ from it for the better and {shifts.count(-1)} for the worse, {basis}.",
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
