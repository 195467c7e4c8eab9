"""Charts as PNG and SVG for papers, drawn by matplotlib, without a browser."""

import io
import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from matplotlib.transforms import Bbox

from cdeval.report.charts import BLUE, PALE, Chart

_MARKERS = {"circle": "o", "square": "s", "triangle-up": "^", "diamond": "D"}
# Where a name may stand beside its point [points of the font, from the point's centre], the usual place first.
_PLACES: list[Any] = [
    {"xytext": (across, up), "ha": side, "va": height}
    for across, up, side, height in (
        (6, 0, "left", "center"), (-6, 0, "right", "center"), (2, 6, "left", "bottom"), (-2, 6, "right", "bottom"),
        (2, -6, "left", "top"), (-2, -6, "right", "top"), (0, 6, "center", "bottom"), (0, -6, "center", "top"),
    )
]  # fmt: skip
_NAME: Any = {"textcoords": "offset points", "fontsize": 6.5}
_MARKER = 4.5  # half a marker's width [points of the font]
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


def picture(charts: Sequence[Chart], columns: int = 1, title: str = "", source: str = "") -> dict[str, bytes]:
    """Draw charts into one picture, row by row.

    Args:
        charts: a panel each.
        columns: panels beside each other.
        title: above all of them.
        source: what it was drawn of, for the files' metadata; empty: they do not say.

    Returns: the file's bytes by its suffix: png (150 dots an inch) and svg.
    """
    with rc_context(_LOOK):
        figure = drawn(charts, columns, title)
        figure.draw_without_rendering()  # names have their room now
        figure.set_layout_engine("none")  # which would measure every text again for each file
        found, named = {}, {"Source": source} if source else {}
        for suffix, metadata in (("png", named), ("svg", {"Date": None, **named})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, metadata=metadata)
            found[suffix] = buffer.getvalue()
    return found


@rc_context(_LOOK)
def drawn(charts: Sequence[Chart], columns: int = 1, title: str = "") -> Figure:
    """Draw the same picture as a figure of matplotlib, in which every text can be measured."""
    rows = [charts[at : at + columns] for at in range(0, len(charts), columns)]
    heights = [max(map(_height, row)) for row in rows]
    size = (columns * max(map(_width, charts)), sum(heights) + (0.3 if title else 0.0))
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    FigureCanvasAgg(figure)  # which measures texts
    panels = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights).flatten()
    for axes, chart in zip(panels, charts, strict=False):
        _draw(axes, chart)
    for axes in panels[len(charts) :]:
        axes.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=10)
    figure.draw_without_rendering()  # panels have their places now, and names are placed by what surrounds them
    for axes, chart in zip(panels, charts, strict=False):
        if chart.kind == "points":
            _name_points(axes, chart)
    return figure


def _width(chart: Chart) -> float:
    return max(6.4, 0.75 * len(chart.ticks) + 1)  # inches


def _height(chart: Chart) -> float:
    if chart.kind in ("bars", "boxes", "heat"):
        rows = len({bar for part in chart.series for bar in part.y}) if chart.kind == "bars" else len(chart.series)
        return max(2.4, 0.9 + 0.24 * rows)
    named = sum(len(part.names) for part in chart.series) if chart.kind == "points" else 0
    return max(3.8, 2.2 + 0.16 * named)  # many points need room for their names


def _draw(axes: Any, chart: Chart) -> None:
    _PLOTTERS[chart.kind](axes, chart)
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y_title)
    if chart.title != chart.y_title:
        legend_between = chart.kind == "points" or (chart.kind == "bars" and _has_legend(chart))
        axes.set_title(chart.title, fontsize=10, loc="left", pad=20 if legend_between else None, wrap=True)


_INSIDE = 8  # lines whose names have room among them
_BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)}  # where a legend hides nothing


def _has_legend(chart: Chart) -> bool:
    return len(chart.series) > 1 and any(part.label for part in chart.series)


def _points(axes: Any, chart: Chart) -> None:
    for group in chart.series:
        errors = [_reach(group.y, group.low), _reach(group.high, group.y)]
        style = {"fmt": _MARKERS[group.symbol], "color": group.color, "label": group.label}
        axes.errorbar(group.x, group.y, yerr=errors, elinewidth=0.8, alpha=0.9, **style)
    _levels(axes, chart)
    slim = {"columnspacing": 0.9, "handlelength": 1.2, "handletextpad": 0.4, "borderaxespad": 0.2}
    axes.legend(fontsize=6.5, frameon=False, ncols=5, loc="lower left", bbox_to_anchor=(-0.02, 1.0), **slim)


def _name_points(axes: Any, chart: Chart) -> None:
    """Write names beside their points, where there is room for them; the table names all points.

    No name lies on a point, on another name or beyond the axes, nor on an interval or a level where there is a choice.
    """
    # Series take turns, so that none has all the room; the controls, which are drawn last, begin.
    turns = zip_longest(*(zip(part.names, part.x, part.y, strict=True) for part in reversed(chart.series)))
    points = [point for turn in turns for point in turn if point is not None]
    half = _MARKER * axes.figure.dpi / 72
    centres = [axes.transData.transform((x, y)) for _, x, y in points]
    taken = [Bbox.from_bounds(x - half, y - half, 2 * half, 2 * half) for x, y in centres]
    room, strokes = axes.get_window_extent(), _strokes(axes, chart)
    for name, *at in points:
        words = [axes.annotate(name, at, **place, **_NAME) for place in _PLACES]
        boxes = {word: word.get_window_extent() for word in words}
        free = [word for word in words if _inside(boxes[word], room) and not _on_any(boxes[word], taken)]
        chosen = next((word for word in free if not _on_any(boxes[word], strokes)), next(iter(free), None))
        for word in words:
            word.set_in_layout(False)  # the axes have their places, and keep them
            if word is not chosen:
                word.remove()
        taken += [boxes[word] for word in words if word is chosen]


def _strokes(axes: Any, chart: Chart) -> list[Bbox]:
    """The intervals and the levels of a chart of points, as boxes without width or height [pixels]."""
    spans = [(x, low, high) for part in chart.series for x, low, high in zip(part.x, part.low, part.high, strict=True)]
    ends = [((x, low), (x, high)) for x, low, high in spans if math.isfinite(low) and math.isfinite(high)]
    left, right = axes.get_xlim()
    ends += [((left, y), (right, y)) for level in chart.levels for y in map(float, level.y)]
    return [Bbox(axes.transData.transform(pair)) for pair in ends]


def _inside(box: Bbox, room: Bbox) -> bool:
    return bool(room.x0 <= box.x0 and box.x1 <= room.x1 and room.y0 <= box.y0 and box.y1 <= room.y1)


def _on_any(box: Bbox, others: Sequence[Bbox]) -> bool:
    return any(box.overlaps(other) for other in others)


def _reach(upper: Any, lower: Any) -> list[float]:
    """Lengths of error bars; none where there is no interval."""
    lengths = (high - low for high, low in zip(upper, lower, strict=True))
    return [max(0.0, length) if math.isfinite(length) else 0.0 for length in lengths]


def _lines(axes: Any, chart: Chart) -> None:
    for line in chart.series:
        style = {"color": line.color, "linestyle": _DASHES[line.dash]}
        axes.plot(line.x, line.y, marker="o", markersize=4, label=line.label, **style)
        if line.low:
            axes.fill_between(line.x, line.low, line.high, color=line.color, alpha=0.12, linewidth=0)
    if chart.logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            set_formatter("{x:g}")
    places = sorted({place for line in chart.series for place in line.x})
    axes.set_xticks(places, [f"{place:g}" for place in places])
    _levels(axes, chart)
    beside = _BESIDE if len(chart.series) > _INSIDE else {}
    axes.legend(fontsize=7, frameon=False, **beside)


def _levels(axes: Any, chart: Chart) -> None:
    for level in chart.levels:
        axes.axhline(level.y[0], color=level.color, linestyle=_DASHES[level.dash], linewidth=1.2, label=level.label)


def _curves(axes: Any, chart: Chart) -> None:
    for line in chart.series:
        label = "_nolegend_" if line.color == PALE else line.label
        axes.plot(line.x, line.y, color=line.color, linestyle=_DASHES[line.dash], label=label)
    axes.set_aspect("equal")
    axes.legend(fontsize=6, frameon=False, reverse=True, **_BESIDE)


def _bars(axes: Any, chart: Chart) -> None:
    left: dict[float | str, float] = {}
    for part in chart.series:
        ends = [_reach(part.x, part.low), _reach(part.high, part.x)] if part.low else None
        style = {"color": part.color, "label": part.label, "xerr": ends, "capsize": 3}
        axes.barh(part.y, part.x, left=[left.get(bar, 0.0) for bar in part.y], **style)
        left |= {bar: left.get(bar, 0.0) + width for bar, width in zip(part.y, part.x, strict=True)}
    axes.grid(visible=False, axis="y")
    if _has_legend(chart):
        axes.legend(fontsize=7, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))


def _boxes(axes: Any, chart: Chart) -> None:
    names = ("whislo", "q1", "med", "q3", "whishi")
    boxes = [{**dict(zip(names, box.x, strict=True)), "label": box.label} for box in chart.series]
    axes.bxp(boxes, orientation="horizontal", showfliers=False, medianprops={"color": BLUE})
    axes.set_xlim(left=0)


def _columns(axes: Any, chart: Chart) -> None:
    bottom = [0.0] * len(chart.series[0].names)
    for part in chart.series:
        axes.bar(part.names, part.y, bottom=bottom, color=part.color, label=part.label)
        bottom = [low + float(height) for low, height in zip(bottom, part.y, strict=True)]
    axes.set_ylim(0, max(0.1, math.ceil(10 * max(bottom)) / 10))
    axes.legend(fontsize=7, frameon=False, ncols=len(chart.series))


def _heat(axes: Any, chart: Chart) -> None:
    """Values from 0 to 1."""
    colors = LinearSegmentedColormap.from_list("", ["#ffffff", chart.series[0].color])
    axes.imshow([row.y for row in chart.series], aspect="auto", origin="lower", cmap=colors, vmin=0, vmax=1)
    for row, cells in enumerate(chart.series):
        for place, (value, name) in enumerate(zip(cells.y, cells.names, strict=True)):
            ink = "white" if float(value) > 0.6 else "black"
            axes.text(place, row, name, ha="center", va="center", fontsize=6, color=ink)
    axes.set_xticks(range(len(chart.ticks)), chart.ticks, fontsize=7)
    axes.set_yticks(range(len(chart.series)), [row.label for row in chart.series], fontsize=7)
    axes.xaxis.tick_top()
    axes.grid(visible=False)


_PLOTTERS: dict[str, Callable[[Any, Chart], None]] = {
    "points": _points,
    "lines": _lines,
    "curves": _curves,
    "bars": _bars,
    "columns": _columns,
    "boxes": _boxes,
    "heat": _heat,
}
