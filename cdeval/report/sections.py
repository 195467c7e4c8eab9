"""The contents of a study's page as plain values for its template: rows, cells, legends, settings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from cdeval.metrics.registry import Better
from cdeval.report.charts import LEVEL_STYLES, PALE, STYLES, Chart
from cdeval.report.differences import correction
from cdeval.report.measures import TRIED_SETTINGS, Measure, further, present, qualities, totals
from cdeval.report.studyfiles import Arm, Study
from cdeval.report.table import MISSING, marks_of
from cdeval.store.private import masked_all

_OVERHEADS = {
    "flops_per_token": "flops_overhead",
    "decode_seconds_per_token": "latency_overhead",
    "memory_bytes": "memory_overhead",
}


class LegendKey(NamedTuple):
    """An entry of a legend."""

    color: str
    look: str  # a marker's symbol, or a line's dash
    label: str
    line: bool


class ResultCell(NamedTuple):
    """A number of the table."""

    value: str
    detail: str  # what qualifies it
    sort: str  # the number in full; empty: there is none
    best: bool  # of the decoded texts


class ResultRow(NamedTuple):
    """An arm in the table."""

    arm: Arm
    label: str  # with the marks of dominated arms and of former texts
    style: tuple[str, str] | None  # colour and symbol in the pictures; None: the human texts
    cells: list[ResultCell]


class DifferenceRow(NamedTuple):
    """An arm less its control."""

    arm: str
    against: str
    cells: list[str]


def cell(measure: Measure, arm: Arm) -> tuple[str, str]:
    """Format a number and what qualifies it: a score's interval, or a cost's overhead over the expert alone."""
    value = measure.value_of(arm)
    if not math.isfinite(value):
        return MISSING, ""
    ratio = arm.summary.get(_OVERHEADS.get(measure.name, ""), math.nan)
    if math.isfinite(ratio):
        return measure.shown(value), f"{ratio:+.1%}".replace("%", " %")
    found = arm.value(measure.name)
    low, high = found.low / measure.scale, found.high / measure.scale
    return measure.shown(value), f"{measure.shown(low)}–{measure.shown(high)}" if math.isfinite(low) else ""


def axes(study: Study) -> dict[str, Any]:
    """List the numbers that a reader can weigh against each other; or say, as `no_axes`, why there are none."""
    measures = present(totals(study), study.decoded)
    costs = [measure for measure in measures if measure.cost]
    if not costs or len(costs) == len(measures):
        return {"axes": None, "no_axes": "No texts were scored" if costs else "No costs are known of these texts"}
    qualities = [measure for measure in measures if not measure.cost]
    return {"axes": {"up": qualities, "across": [*costs, *reversed(qualities)]}}


def results(study: Study) -> dict[str, Any]:
    """Build the table: its measures, how many of them are shown at first, a row an arm, and what marks mean."""
    first = present((*totals(study), TRIED_SETTINGS), study.arms)
    measures = [*first, *present(further(study), study.arms)]
    marks, meaning = marks_of(study.rows)
    best = {measure.name: _best(measure, study.current) for measure in measures}
    rows = []
    for arm, mark in zip(study.arms, marks, strict=True):
        cells = []
        for measure in measures:
            number = measure.value_of(arm)
            sort = repr(number) if math.isfinite(number) else ""
            cells.append(ResultCell(*cell(measure, arm), sort, arm.label in best[measure.name]))
        rows.append(ResultRow(arm, arm.label + mark, None if arm.is_human else STYLES[arm.kind], cells))
    return {"measures": measures, "shown_first": len(first), "rows": rows, "meaning": meaning}


def _best(measure: Measure, study: Study) -> set[str]:
    """Find the labels with the best value of the decoded texts, where more is better; none where all look alike."""
    shown = {arm.label: measure.shown(measure.value_of(arm)) for arm in study.decoded if measure.is_known(arm)}
    if measure.better is not Better.higher or len(set(shown.values())) < 2:
        return set()
    highest = measure.shown(max(measure.value_of(arm) for arm in study.decoded if arm.label in shown))
    return {label for label, value in shown.items() if value == highest}


def differences(study: Study) -> dict[str, Any]:
    """List every arm less its control, on the metrics that the screen shows, and say how p is corrected."""
    measures = {measure.name: measure for measure in qualities(study)}
    rows = []
    for one in study.comparisons:
        measure = measures.get(one.metric)
        if measure is None or not math.isfinite(one.difference.value):
            continue
        digits = measure.digits
        ends = f"{one.difference.low:+.{digits}f} to {one.difference.high:+.{digits}f}"
        cells = [
            measure.title,
            f"{one.difference.value:+.{digits}f}",
            ends if math.isfinite(one.difference.low) else MISSING,
            f"{one.p_holm:.2g}" if math.isfinite(one.p_holm) else MISSING,
            f"{one.detectable:.{digits}f}" if math.isfinite(one.detectable) else MISSING,
        ]
        rows.append(DifferenceRow(one.arm, one.against, cells))
    return {"differences": rows, "corrected": correction(study.families)}


def legend_of(chart: Chart) -> list[LegendKey]:
    """Build the legend of one picture; empty where it needs none, or shares that of its group."""
    if chart.group:
        return []
    if chart.kind == "bars" and len(chart.series) > 1:
        return [LegendKey(one.color, "square", one.label, line=False) for one in chart.series]
    if chart.kind == "curves":
        named = [
            LegendKey(one.color, one.dash, one.label, line=True) for one in reversed(chart.series) if one.color != PALE
        ]
        return [
            *named,
            *([LegendKey(PALE, "solid", "the others", line=True)] if len(named) < len(chart.series) else []),
        ]
    return []


def shared_legend(charts: Sequence[Chart]) -> list[LegendKey]:
    """Build one legend for pictures that share their lines."""
    lines = [line for chart in charts for line in chart.series] + [level for chart in charts for level in chart.levels]
    return list({one.label: LegendKey(one.color, one.dash, one.label, line=True) for one in lines}.values())


def kinds(study: Study) -> list[LegendKey]:
    """Build the legend of the arms' colours and symbols."""
    known = {arm.kind for arm in study.decoded}
    entries = [LegendKey(*style, kind, line=False) for kind, style in STYLES.items() if kind in known]
    return [*entries, *([LegendKey(*LEVEL_STYLES["human"], "human texts", line=True)] if study.human else [])]


def example(study: Study) -> dict[str, Any] | None:
    """Describe how the first arm was made, with its files in full: enough to judge a study and to repeat it."""
    arm = next((arm for arm in study.decoded if arm.config), None)
    if arm is None:
        return None
    texts = {
        title: yaml.safe_dump(masked_all(value), sort_keys=False, allow_unicode=True)
        for title, value in (("Settings", arm.config), ("Provenance", arm.provenance))
    }
    return {"label": arm.label, "facts": _facts(arm.provenance), "files": texts}


def _facts(provenance: Mapping[str, Any]) -> dict[str, object]:
    """Pick the few facts that most results depend on."""
    code, machine = provenance.get("cdeval") or {}, provenance.get("machine") or {}
    models, libraries = provenance.get("models") or {}, provenance.get("libraries") or {}
    commit = str(code.get("commit") or "unknown")[:12] + (" with changes" if code.get("dirty") else "")
    threads = (provenance.get("numerics") or {}).get("threads")
    return {
        "expert": f"{models.get('expert')}, {models.get('dtype')} on {models.get('device')}",
        "weights": str(models.get("fingerprint"))[:16],
        "prompts": str(provenance.get("prompts_digest"))[:16],
        "code": f"cdeval {code.get('version')}, commit {commit}",
        "libraries": ", ".join(f"{name} {libraries[name]}" for name in ("torch", "transformers") if name in libraries),
        "machine": f"{machine.get('cpu')}, {machine.get('cores_usable')} cores, {threads} threads",
        "started": provenance.get("started_utc"),
    }
