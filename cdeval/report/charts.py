"""The charts of a study as plain data; `drawing` draws them with plotly on pages, `stills` with matplotlib in files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cdeval.metrics.registry import Metric, main_metrics
from cdeval.report.measures import COSTS, Measure, present, qualities
from cdeval.report.short import point_labels, short_labels
from cdeval.report.studyfiles import Kind, Study
from cdeval.report.sweep import Level, Sweep, defined, sweeps_of

# Tol's "vibrant" colours: told apart by colour-blind eyes, and readable on white and on black.
BLUE, ORANGE, TEAL, RED, CYAN, MAGENTA, GREY = (
    "#0077BB",
    "#EE7733",
    "#009988",
    "#CC3311",
    "#33BBEE",
    "#EE3377",
    "#888888",
)
LINES = (BLUE, MAGENTA, CYAN, RED)  # the other two are the levels of human texts and small amateurs
PALE = "#AAAAAA"

Dash = Literal["solid", "dash", "dot", "dashdot"]
_DASHES: tuple[Dash, ...] = ("solid", "dash", "dot", "dashdot")
LEVEL_STYLES: dict[str, tuple[str, Dash]] = {
    "human": (TEAL, "dot"),
    "control": (GREY, "dash"),
    "amateur": (ORANGE, "dashdot"),
}


STYLES = {
    Kind.exit: (BLUE, "circle"),
    Kind.amateur: (ORANGE, "square"),
    Kind.own_exits: (MAGENTA, "triangle-up"),
    Kind.alone: (GREY, "diamond"),
}


@dataclass(frozen=True, slots=True)
class Series:
    """Points, bars or a line."""

    label: str
    x: Sequence[float]
    y: Sequence[float | str]
    low: Sequence[float] = ()  # of y where it is a line or points; of x where it is bars
    high: Sequence[float] = ()
    color: str = BLUE
    dash: Dash = "solid"
    symbol: str = "circle"
    names: Sequence[str] = ()  # a point, a column or a cell each
    hovers: Sequence[str] = ()  # of a heat map's cells, in plotly's own markup


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture."""

    name: str  # of its files
    title: str
    kind: Literal["points", "lines", "curves", "bars", "columns", "boxes", "heat"]
    x_title: str
    y_title: str
    series: Sequence[Series]
    levels: Sequence[Series] = field(default=())  # horizontal lines: x is empty, y one number
    group: str = ""  # charts of one group stand side by side under its name
    note: str = ""
    ticks: Sequence[str] = ()  # names of a heat map's columns, whose rows are the series
    logarithmic: bool = False  # both axes, in files


def charts_of(study: Study) -> list[Chart]:
    """List all charts that the study's files allow, in the order of the page; the first is quality against cost.

    Scores of former texts are not drawn.
    """
    study = study.current
    found = [_sweep_chart(sweep, measure) for sweep in sweeps_of(study) for measure in _measured(study, sweep)]
    return [*_costs_and_quality(study), *found, *_curves(study), *_latency(study), *_flops(study), *_memory(study)]


def _costs_and_quality(study: Study) -> list[Chart]:
    """Chart every quality against the first known cost (arithmetic, else time), and some against each other."""
    costs, shown = present(COSTS, study.decoded), present(qualities(study), study.decoded)
    found = [_points(study, costs[0], quality) for quality in shown] if costs else []
    return found + [_points(study, other, one) for one in shown for other in shown if one.beside == other.name]


def _points(study: Study, across: Measure, quality: Measure) -> Chart:
    short = point_labels([arm.label for arm in study.decoded])
    series = []
    for kind, (color, symbol) in STYLES.items():
        arms = [arm for arm in study.decoded if arm.kind == kind and quality.is_known(arm)]
        arms = [arm for arm in arms if across.is_known(arm)]
        if arms:
            found = [arm.value(quality.name) for arm in arms]
            series.append(
                Series(
                    kind,
                    [across.value_of(arm) for arm in arms],
                    [one.value / quality.scale for one in found],
                    [one.low / quality.scale for one in found],
                    [one.high / quality.scale for one in found],
                    color,
                    symbol=symbol,
                    names=[short[arm.label] for arm in arms],
                )
            )
    levels = [Level(arm.label, "human", arm) for arm in study.arms if arm.is_human]
    return Chart(
        f"{quality.name}-by-{across.name}",
        f"{quality.title} and {across.title}",
        "points",
        across.heading,
        quality.heading,
        series,
        _level_series(levels, quality),
    )


def _measured(study: Study, sweep: Sweep) -> list[Measure]:
    return present(qualities(study), [arm for line in sweep.lines for arm in line.arms])


def _sweep_chart(sweep: Sweep, measure: Measure) -> Chart:
    series = []
    for number, line in enumerate(sweep.lines):
        pairs = defined(line, measure)
        found = [arm.value(measure.name) for _, arm in pairs]
        series.append(
            Series(
                line.label or "early exit",
                [place for place, _ in pairs],
                [one.value / measure.scale for one in found],
                [one.low / measure.scale for one in found],
                [one.high / measure.scale for one in found],
                LINES[number % len(LINES)],
                _DASHES[number // len(LINES) % len(_DASHES)],
                names=[arm.label for _, arm in pairs],
            )
        )
    return Chart(
        f"{measure.name}-by-{sweep.axis.name}",
        measure.heading,
        "lines",
        sweep.axis.title,
        measure.heading,
        series,
        _level_series(sweep.levels, measure),
        group=f"By {sweep.axis.title}",
    )


def _level_series(levels: Sequence[Level], measure: Measure) -> list[Series]:
    found = []
    for level in levels:
        value = measure.value_of(level.arm)
        color, dash = LEVEL_STYLES[level.kind]
        if math.isfinite(value):
            found.append(Series(level.label, [], [value], color=color, dash=dash))
    return found


_NAMED_CURVES = 4


def curved_metric() -> Metric | None:
    """The metric whose curves are stored with every arm."""
    return next((one for one in main_metrics() if one.curve is not None), None)


def _curves(study: Study) -> list[Chart]:
    """Chart the curves that a metric keeps of every arm: the best few and the controls in colour, the others pale."""
    metric = curved_metric()
    if metric is None or metric.curve is None or not any(arm.curve for arm in study.decoded):
        return []
    way = metric.better.way
    arms = sorted((arm for arm in study.decoded if arm.curve), key=lambda arm: -way * arm.value(metric.name).value)
    short = short_labels([arm.label for arm in study.decoded])
    best = [arm.label for arm in arms if arm.role != "control"][:_NAMED_CURVES]
    series = []
    for arm in reversed(arms):
        color = LINES[best.index(arm.label)] if arm.label in best else GREY if arm.role == "control" else PALE
        number = arm.value(metric.name).value
        label = f"{short[arm.label]} · {number:.{metric.digits}f}" if math.isfinite(number) else short[arm.label]
        dash: Dash = "dash" if arm.role == "control" else "solid"
        series.append(Series(label, [x for x, _ in arm.curve], [y for _, y in arm.curve], color=color, dash=dash))
    words = metric.curve
    return [Chart("divergence", words.title, "curves", words.x, words.y, series, note=words.note)]


def _latency(study: Study) -> list[Chart]:
    """Chart the time of a token: its distribution where the passes were kept, else the mean alone."""
    arms = [arm for arm in study.decoded if arm.token_seconds]
    short = short_labels([arm.label for arm in study.decoded])
    title, unit = "Time of one token, one prompt at a time", "ms"
    if arms:
        series = []
        for arm in reversed(arms):
            places = np.percentile(arm.token_seconds, [1, 25, 50, 75, 99]) * 1e3
            label = short[arm.label]
            series.append(Series(label, [float(v) for v in places], [label], color=STYLES[arm.kind][0]))
        note = "Middle half of all tokens as a box, 1st to 99th percentile as whiskers; prompts' first passes left out."
        return [Chart("latency", title, "boxes", unit, "", series, note=note)]
    timed = [arm for arm in study.decoded if math.isfinite(arm.summary.get("decode_seconds_per_token", math.nan))]
    if not timed:
        return []
    seconds = [arm.summary["decode_seconds_per_token"] * 1e3 for arm in reversed(timed)]
    series = [Series("mean", seconds, [short[arm.label] for arm in reversed(timed)], color=BLUE)]
    return [Chart("latency", title, "bars", unit, "", series)]


_FLOPS = (
    ("expert_prefill_flops", "expert, prompt", PALE),
    ("expert_decode_flops", "expert, new tokens", GREY),
    ("amateur_flops", "amateur", BLUE),
)
_MEMORY = (
    ("weights_bytes", "weights", GREY),
    ("kv_live_bytes", "key-value cache", BLUE),
    ("other_bytes", "other working memory", ORANGE),
)


def _flops(study: Study) -> list[Chart]:
    parts = [arm.summary for arm in study.decoded]
    return _stacked(study, parts, _FLOPS, 1e12, ("flops", "Compute by part, all texts together", "TFLOPs"))


def _memory(study: Study) -> list[Chart]:
    """Chart the parts of memory. The cache is part of what a pass works with: the rest is shown beside it."""
    parts = []
    for arm in study.decoded:
        rest = arm.summary.get("working_bytes", math.nan) - arm.summary.get("kv_live_bytes", math.nan)
        parts.append({**arm.summary, "other_bytes": max(0.0, rest) if math.isfinite(rest) else math.nan})
    return _stacked(study, parts, _MEMORY, 2**20, ("memory", "Memory by part, one prompt at a time", "MiB"))


def _stacked(
    study: Study,
    summaries: Sequence[Mapping[str, float]],
    parts: Sequence[tuple[str, str, str]],
    scale: float,
    names: tuple[str, str, str],
) -> list[Chart]:
    """Make one chart of the parts that some arm has; none where no arm has any."""
    short = short_labels([arm.label for arm in study.decoded])
    rows = list(reversed([*zip(study.decoded, summaries, strict=True)]))
    series = []
    for part, label, color in parts:
        values = [(short[arm.label], summary.get(part, math.nan) / scale) for arm, summary in rows]
        shown = [(bar, value) for bar, value in values if math.isfinite(value)]
        if any(value for _, value in shown):
            series.append(Series(label, [value for _, value in shown], [bar for bar, _ in shown], color=color))
    name, title, unit = names
    return [Chart(name, title, "bars", unit, "", series)] if series else []
