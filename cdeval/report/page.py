"""A study's page, `report.html`: pictures, table and texts, as `templates/study.html.j2` lays them out."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cdeval.report import sections
from cdeval.report.answer import findings
from cdeval.report.charts import STYLES, Chart, curved_metric
from cdeval.report.drawing import plotly_of
from cdeval.report.grid import grid_of
from cdeval.report.measures import Measure, present, totals
from cdeval.report.rendering import PLOTLY, render
from cdeval.report.short import point_labels
from cdeval.report.studyfiles import Arm, Study
from cdeval.report.texts import side_by_side
from cdeval.report.tracing import Tracer, tracer_of
from cdeval.report.verdict import best_of

_SCRIPTS = tuple(f"report/templates/{name}.js" for name in ("common", "pareto", "grid", "table", "texts", "start"))
_SHOWN_FIRST = 3  # texts beside each other before a reader chooses


def to_html(study: Study, charts: Sequence[Chart], fronts: Mapping[tuple[str, str], set[str]]) -> str:
    """Write the page as HTML.

    Args:
        study: as its files tell it.
        charts: its pictures; quality against cost is drawn by the page's script, from the table's numbers.
        fronts: labels that nothing dominates, by the names of the cost and the quality on the axes.
    """
    drawn = [chart for chart in charts if chart.kind != "points"]
    tracers = [tracer_of(arm) for arm in study.arms]
    texts, grid = side_by_side(study, tracers), _grid(study)
    groups = list(dict.fromkeys(chart.group for chart in drawn if chart.group))
    sweeps = {f"sweep-{at}": [one for one in drawn if one.group == group] for at, group in enumerate(groups)}
    curves = [chart for chart in drawn if chart.kind == "curves"]
    costs = [chart for chart in drawn if not chart.group and chart.kind != "curves"]
    titles = {
        "quality-and-cost": "Quality and cost",
        **({"grid": "The grid"} if grid else {}),
        "table": "All arms",
        **({"texts": "Texts side by side"} if texts else {}),
        **dict(zip(sweeps, groups, strict=True)),
        **({"curves": curved.label} if curves and (curved := curved_metric()) else {}),
        **({"costs": "What it costs"} if costs else {}),
        "protocol": "Protocol and provenance",
    }
    headline, *lead = findings(study)
    return render(
        "report/templates/study.html.j2",
        scripts=(PLOTLY, *_SCRIPTS),
        data={**_data(study, drawn, fronts, tracers), "texts": texts, "grid": grid},
        study=study,
        former=[arm.label for arm in study.arms if arm.former.metrics],
        eyebrow=_eyebrow(study),
        headline=headline,
        lead=lead,
        titles=titles,
        grid=grid and {"axes": grid["axes"], "measures": present(totals(study), study.current.decoded)},
        prompts={"shown": len(texts), "all": len({text.id for arm in study.arms for text in arm.generations})},
        sweeps=sweeps,
        curves=curves,
        costs=costs,
        legend_of=sections.legend_of,
        shared_legend=sections.shared_legend,
        kinds=sections.kinds(study),
        **sections.axes(study),
        **sections.results(study),
        **sections.differences(study),
        example=sections.example(study),
    )


def _eyebrow(study: Study) -> str:
    texts = max((int(arm.summary.get("texts", 0)) for arm in study.arms), default=0)
    expert = next((arm.provenance.get("models", {}).get("expert") for arm in study.arms if arm.provenance), None)
    known = [f"cdeval study {study.name}", f"{len(study.decoded)} arms", f"{texts} texts each", expert]
    return " · ".join(str(fact) for fact in known if fact)


def _data(
    study: Study,
    charts: Sequence[Chart],
    fronts: Mapping[tuple[str, str], set[str]],
    tracers: Sequence[Tracer | None],
) -> dict[str, Any]:
    """Collect the values that the page's script draws and lets readers search."""
    short = point_labels([arm.label for arm in study.arms])
    place = {arm.label: at for at, arm in enumerate(study.arms)}
    measures = present(totals(study), study.arms)
    return {
        "arms": [
            _arm(arm, short[arm.label], measures) | ({"settings": tracer.settings} if tracer else {})
            for arm, tracer in zip(study.current.arms, tracers, strict=True)
        ],
        "measures": [
            {"name": one.name, "title": one.title, "heading": one.heading, "way": one.better.way} for one in measures
        ],
        "styles": STYLES,
        "fronts": {f"{x} {y}": sorted(place[label] for label in front) for (x, y), front in fronts.items()},
        "figures": {chart.name: plotly_of(chart) for chart in charts},
        "first": [place[label] for label in _first(study)],
    }


def _grid(study: Study) -> dict[str, Any] | None:
    """The varied numbers, and each arm's by its place; None: no grid."""
    grid = grid_of(study)
    if grid is None:
        return None
    place = {arm.label: at for at, arm in enumerate(study.arms)}
    return {"axes": grid.axes, "varied": {place[label]: values for label, values in grid.varied.items()}}


def _arm(arm: Arm, short: str, measures: Sequence[Measure]) -> dict[str, Any]:
    values, shown = {}, {}
    for measure in measures:
        if measure.is_known(arm):
            found = arm.value(measure.name)
            ends = (found.value, found.low, found.high)
            values[measure.name] = [end / measure.scale if math.isfinite(end) else None for end in ends]
            shown[measure.name] = sections.cell(measure, arm)
    facts = {"label": arm.label, "short": short, "role": arm.role, "kind": None if arm.is_human else arm.kind}
    return {**facts, "values": values, "shown": shown}


def _first(study: Study) -> list[str]:
    """The human text, the arm that the verdict speaks of or the first, and its control."""
    found = [arm.label for arm in study.arms if arm.is_human]
    best = best_of(study)
    found += [best.arm, best.against] if best else []
    found += [arm.label for arm in study.decoded]
    return list(dict.fromkeys(found))[:_SHOWN_FIRST]
