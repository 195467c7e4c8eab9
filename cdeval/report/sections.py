"""The parts of the page that are plain HTML: they stand without a script, sort without numbers read from text, print.

Every text that enters is escaped here; nothing else of the page takes texts.
"""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from cdeval.report.charts import LEVEL_STYLES, PALE, STYLES, Chart
from cdeval.report.differences import SHOWN as COMPARED
from cdeval.report.differences import corrected_for
from cdeval.report.measures import TOTALS, Measure, present
from cdeval.report.studyfiles import Arm, Study
from cdeval.report.table import MISSING
from cdeval.store.private import masked_all

_OVERHEADS = {
    "flops_per_token": "flops_overhead",
    "decode_seconds_per_token": "latency_overhead",
    "memory_bytes": "memory_overhead",
}
_SIGNS = {
    "circle": '<circle cx="6" cy="6" r="5"/>',
    "square": '<rect x="1.5" y="1.5" width="9" height="9"/>',
    "triangle-up": '<path d="M6 1 11 11H1z"/>',
    "diamond": '<path d="M6 0 12 6 6 12 0 6z"/>',
}
_STROKES = {"solid": "", "dash": "5 3", "dot": "1.5 2.5", "dashdot": "6 2 1.5 2"}


def escape(text: object) -> str:
    """For HTML, in attributes as well."""
    return html.escape(str(text))


def cell(measure: Measure, arm: Arm) -> tuple[str, str]:
    """A number as text, and what qualifies it: a score's interval, or a cost's overhead over the expert alone."""
    value = measure.of(arm)
    if not math.isfinite(value):
        return MISSING, ""
    ratio = arm.summary.get(_OVERHEADS.get(measure.name, ""), math.nan)
    if math.isfinite(ratio):
        return measure.shown(value), f"{ratio:+.1%}".replace("%", " %")
    found = arm.value(measure.name)
    low, high = found.low / measure.scale, found.high / measure.scale
    return measure.shown(value), f"{measure.shown(low)}–{measure.shown(high)}" if math.isfinite(low) else ""


def results(study: Study) -> str:
    """The table: a row an arm, sorted by the page's script, the best of each column starred."""
    measures = present(TOTALS, study.arms)
    best = {measure.name: _best(measure, study) for measure in measures}
    heads = "".join(
        f'<th scope="col" aria-sort="none" data-first="{"descending" if one.better > 0 else "ascending"}">'
        f'<button type="button">{escape(one.heading)}</button></th>'
        for one in measures
    )
    rows = []
    for place, (arm, row) in enumerate(zip(study.arms, study.rows, strict=True)):
        cells = []
        for measure in measures:
            value, detail = cell(measure, arm)
            number = measure.of(arm)
            sort = f"{number!r}" if math.isfinite(number) else ""
            mark = ' class="best" title="best of the decoded texts"' if arm.label in best[measure.name] else ""
            small = f"<small>{escape(detail)}</small>" if detail else ""
            cells.append(f'<td data-value="{sort}"{mark}>{escape(value)}{small}</td>')
        sign, shown = "" if arm.is_human else _sign(*STYLES[arm.kind]), escape(row.label + row.mark)
        rows.append(
            f'<tr data-arm="{place}" class="{"human" if arm.is_human else "arm"}">'
            f'<th scope="row" data-value="{escape(arm.label)}">{sign}{shown}</th>{"".join(cells)}'
            f'<td class="place">{MISSING}</td></tr>'
        )
    name = '<th scope="col" aria-sort="none" data-first="ascending"><button type="button">arm</button></th>'
    return (
        '<div class="controls"><label>Filter arms <input id="filter" type="search" placeholder="k=24 beam"></label> '
        f'<span id="filtered" class="note" role="status">{len(rows)} of {len(rows)}</span></div>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Results"><table id="results"><thead><tr>{name}'
        f'{heads}<th scope="col">place</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _best(measure: Measure, study: Study) -> set[str]:
    """Labels with the best value of the decoded texts, where more is better; none where all look alike."""
    shown = {arm.label: measure.shown(measure.of(arm)) for arm in study.decoded if math.isfinite(measure.of(arm))}
    if measure.better <= 0 or len(set(shown.values())) < 2:
        return set()
    highest = measure.shown(max(measure.of(arm) for arm in study.decoded if arm.label in shown))
    return {label for label, value in shown.items() if value == highest}


def differences(study: Study) -> str:
    """Every arm less its control, on the metrics that the screen shows; empty where nothing was compared."""
    rows = []
    for one in study.comparisons:
        measure = next((measure for measure in TOTALS if measure.name == one.metric), None)
        if measure is None or one.metric not in COMPARED or not math.isfinite(one.difference.value):
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
        shown = "".join(f"<td>{escape(text)}</td>" for text in cells)
        rows.append(f'<tr><th scope="row">{escape(one.arm)} <small>less {escape(one.against)}</small></th>{shown}</tr>')
    if not rows:
        return ""
    tests = corrected_for(study.comparisons)
    says = (
        f"p is corrected for all {tests} comparisons of the study that have a p-value; “seen from” is the smallest "
        "difference that a study of this size finds 4 times of 5."
        if tests
        else "No comparison has a p-value."
    )
    names = ("arm less its control", "metric", "difference", "interval", "p (Holm)", "seen from")
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    return (
        f'<details><summary>{len(rows)} differences, paired by prompt</summary><p class="note">{says}</p>'
        '<div class="scroll" tabindex="0" role="region" aria-label="Differences">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def figure(chart: Chart) -> str:
    """An empty place that the script draws in, with its name, its legend and what must be known of it."""
    note = f"<figcaption>{escape(chart.note)}</figcaption>" if chart.note else ""
    alone = "" if chart.group else _legend_of(chart)
    return f'<figure><h3>{escape(chart.title)}</h3>{alone}<div id="figure-{chart.name}"></div>{note}</figure>'


def _legend_of(chart: Chart) -> str:
    if chart.kind == "bars" and len(chart.series) > 1:
        return _legend([(_sign(one.color, "square"), one.label) for one in chart.series])
    if chart.kind == "curves":
        named = [(_stroke(one.color, one.dash), one.label) for one in reversed(chart.series) if one.color != PALE]
        others = [(_stroke(PALE, "solid"), "the others")] if len(named) < len(chart.series) else []
        return _legend([*named, *others])
    return ""


def group_legend(charts: Sequence[Chart]) -> str:
    """One legend for pictures that share their lines."""
    entries = {one.label: _stroke(one.color, one.dash) for chart in charts for one in chart.series}
    levels = {one.label: _stroke(one.color, one.dash) for chart in charts for one in chart.levels}
    return _legend([(sign, label) for label, sign in (entries | levels).items()])


def kinds_legend(study: Study) -> str:
    """Colours and signs of the arms."""
    kinds = {arm.kind for arm in study.decoded}
    entries = [(_sign(*style), kind) for kind, style in STYLES.items() if kind in kinds]
    human = [(_stroke(*LEVEL_STYLES["human"]), "human texts")] if study.human else []
    return _legend([*entries, *human])


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    return f'<ul class="legend">{"".join(f"<li>{sign}{escape(label)}</li>" for sign, label in entries)}</ul>'


def _sign(color: str, symbol: str) -> str:
    return f'<svg width="12" height="12" fill="{color}" aria-hidden="true">{_SIGNS[symbol]}</svg> '


def _stroke(color: str, dash: str) -> str:
    line = (
        f'<line x1="0" y1="6" x2="24" y2="6" stroke="{color}" stroke-width="2.5" stroke-dasharray="{_STROKES[dash]}"/>'
    )
    return f'<svg width="24" height="12" aria-hidden="true">{line}</svg>'


def protocol(study: Study) -> str:
    """What was done, how each number was made, and on what: enough to judge it, and to do it again."""
    arm = next((arm for arm in study.decoded if arm.config), None)
    notes = "".join(f"<li>{escape(note)}</li>" for note in study.notes)
    parts = [f"<h3>How the numbers were made</h3><ul>{notes}</ul>" if notes else ""]
    if arm is not None:
        parts.append(f"<h3>Made on</h3>{_pairs(_facts(arm.provenance))}")
        for title, value in (("Settings", arm.config), ("Provenance", arm.provenance)):
            text = yaml.safe_dump(masked_all(value), sort_keys=False, allow_unicode=True)
            parts.append(
                f"<details><summary>{title} of {escape(arm.label)}</summary><pre>{escape(text)}</pre></details>"
            )
    return "".join(parts)


def _facts(provenance: Mapping[str, Any]) -> dict[str, object]:
    """The few that most results turn on."""
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


def _pairs(facts: Mapping[str, object]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>' for name, value in facts.items())}</dl>"
