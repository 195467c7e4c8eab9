"""Charts as PNG and SVG for papers, by matplotlib, with nothing that needs a browser."""

import io
import math
from collections.abc import Callable
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from cdeval.report.charts import BLUE, PALE, Chart

_MARKERS = {"circle": "o", "square": "s", "triangle-up": "^", "diamond": "D"}
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
# Text stays text in SVG, and equal charts are equal bytes. Names hold α and β, and perhaps $, which is no formula here.
_LOOK: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cdeval",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 9,
    "text.parse_math": False,
}


def still(chart: Chart) -> dict[str, bytes]:
    """The file's bytes by its suffix: png (150 dots an inch) and svg."""
    with rc_context(_LOOK):
        rows = len(chart.series[0].y) if chart.kind == "bars" else len(chart.series)
        tall = 0.9 + 0.24 * rows if chart.kind in ("bars", "boxes") else 3.8
        figure = Figure(figsize=(6.4, max(2.4, tall)), layout="constrained", dpi=150)
        axes = figure.subplots()
        _DRAW[chart.kind](axes, chart)
        axes.set_xlabel(chart.x_title)
        axes.set_ylabel(chart.y_title)
        if chart.title != chart.y_title:
            axes.set_title(chart.title, fontsize=10, loc="left", pad=20 if chart.kind == "points" else None)
        found = {}
        for suffix, metadata in (("png", {}), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, metadata=metadata)
            found[suffix] = buffer.getvalue()
    return found


def _points(axes: Any, chart: Chart) -> None:
    for group in chart.series:
        errors = [_reach(group.y, group.low), _reach(group.high, group.y)]
        style = {"fmt": _MARKERS[group.symbol], "color": group.color, "label": group.label}
        axes.errorbar(group.x, group.y, yerr=errors, elinewidth=0.8, alpha=0.9, **style)
    _levels(axes, chart)
    for name, x, y, left in _named(axes, chart):
        side = "right" if left else "left"
        axes.annotate(name, (x, y), xytext=(-5 if left else 5, 3), textcoords="offset points", fontsize=6.5, ha=side)
    slim = {"columnspacing": 0.9, "handlelength": 1.2, "handletextpad": 0.4, "borderaxespad": 0.2}
    axes.legend(fontsize=6.5, frameon=False, ncols=5, loc="lower left", bbox_to_anchor=(-0.02, 1.0), **slim)


def _named(axes: Any, chart: Chart) -> list[tuple[str, float, float, bool]]:
    """Points whose names lie on no other's, and whether theirs stands to the left; the table names all of them."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    taken: list[tuple[float, float, float]] = []
    found = []
    for group in reversed(chart.series):  # the controls come last, and are named first
        for name, x, y in zip(group.names, group.x, group.y, strict=True):
            across, up, width = (x - left) / (right - left), (float(y) - bottom) / (top - bottom), 0.0095 * len(name)
            turned = across + width > 1
            start, end = (across - width, across) if turned else (across, across + width)
            if all(abs(up - other) > 0.035 or end < begin or start > close for other, begin, close in taken):
                taken.append((up, start, end))
                found.append((name, x, float(y), turned))
    return found


def _reach(upper: Any, lower: Any) -> list[float]:
    """Lengths of error bars; none where there is no interval."""
    lengths = (high - low for high, low in zip(upper, lower, strict=True))
    return [max(0.0, length) if math.isfinite(length) else 0.0 for length in lengths]


def _lines(axes: Any, chart: Chart) -> None:
    for line in chart.series:
        style = {"color": line.color, "linestyle": _DASHES[line.dash]}
        axes.plot(line.x, line.y, marker="o", markersize=4, label=line.label, **style)
        axes.fill_between(line.x, line.low, line.high, color=line.color, alpha=0.12, linewidth=0)
    axes.set_xticks(sorted({place for line in chart.series for place in line.x}))
    _levels(axes, chart)
    axes.legend(fontsize=7, frameon=False)


def _levels(axes: Any, chart: Chart) -> None:
    for level in chart.levels:
        axes.axhline(level.y[0], color=level.color, linestyle=_DASHES[level.dash], linewidth=1.2, label=level.label)


def _curves(axes: Any, chart: Chart) -> None:
    for line in chart.series:
        label = "_nolegend_" if line.color == PALE else line.label
        axes.plot(line.x, line.y, color=line.color, linestyle=_DASHES[line.dash], label=label)
    axes.set_aspect("equal")
    axes.legend(fontsize=6, frameon=False, loc="center left", bbox_to_anchor=(1.02, 0.5), reverse=True)


def _bars(axes: Any, chart: Chart) -> None:
    left: dict[float | str, float] = {}
    for part in chart.series:
        axes.barh(part.y, part.x, left=[left.get(bar, 0.0) for bar in part.y], color=part.color, label=part.label)
        left |= {bar: left.get(bar, 0.0) + width for bar, width in zip(part.y, part.x, strict=True)}
    axes.grid(visible=False, axis="y")
    if len(chart.series) > 1:
        axes.legend(fontsize=7, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))


def _boxes(axes: Any, chart: Chart) -> None:
    names = ("whislo", "q1", "med", "q3", "whishi")
    boxes = [{**dict(zip(names, box.x, strict=True)), "label": box.label} for box in chart.series]
    axes.bxp(boxes, orientation="horizontal", showfliers=False, medianprops={"color": BLUE})
    axes.set_xlim(left=0)


_DRAW: dict[str, Callable[[Any, Chart], None]] = {
    "points": _points,
    "lines": _lines,
    "curves": _curves,
    "bars": _bars,
    "boxes": _boxes,
}
