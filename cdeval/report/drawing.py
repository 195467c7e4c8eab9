"""Charts as plotly's JSON, without colours of text, grid and paper: those are the page's, light or dark."""

import math
from collections.abc import Callable, Sequence
from textwrap import wrap
from typing import Any

from cdeval.report.charts import Chart, Series

_BAND = 0.14  # opacity
_ROW = 24  # pixels of a bar or box
_WIDTH = 28  # signs of a label in a line
_FRAME = 90  # pixels of axes and legend


def plotly_of(chart: Chart) -> dict[str, Any]:
    """`data` and `layout` of one figure. Raises: ValueError: of points, which the page's own script draws."""
    if chart.kind == "points":
        raise ValueError(f"{chart.name}: points are drawn by the page, which lets readers choose the axes")
    draw = _TRACES[chart.kind]
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": chart.x_title}, "automargin": True, "fixedrange": True, "zeroline": False},
        "yaxis": {"title": {"text": chart.y_title}, "automargin": True, "fixedrange": True, "zeroline": False},
        "margin": {"l": 48, "r": 12, "t": 12, "b": 44},
        "hovermode": "closest",
        "height": 300,
        "showlegend": False,
    }
    data = draw(chart, layout)
    return {"data": data, "layout": layout}


def _finite(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _lines(chart: Chart, layout: dict[str, Any]) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = []
    for line in chart.series:
        if line.low and all(map(math.isfinite, (*line.low, *line.high))):
            data.append(_band(line))
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": line.label,
                "x": list(line.x),
                "y": _finite([float(value) for value in line.y]),
                "customdata": [
                    [html_text(name), f"{low:.3f} to {high:.3f}" if math.isfinite(low) else "no interval"]
                    for name, low, high in zip(line.names, line.low, line.high, strict=True)
                ],
                "hovertemplate": "%{customdata[0]}<br>%{y:.3f} (%{customdata[1]})<extra></extra>",
                "line": {"color": line.color, "dash": line.dash, "width": 2},
                "marker": {"size": 7},
            }
        )
    layout["shapes"] = [_level(level) for level in chart.levels]
    layout["annotations"] = _level_names(chart.levels)
    places = sorted({place for line in chart.series for place in line.x})
    layout["xaxis"] |= {"tickmode": "array", "tickvals": places, "ticktext": [f"{place:g}" for place in places]}
    layout["yaxis"] |= {"title": {"text": ""}}
    _with_levels_in_sight(chart, layout)
    layout["height"] = 260
    return data


def _with_levels_in_sight(chart: Chart, layout: dict[str, Any]) -> None:
    """Plotly makes no room for shapes. A level far off the lines would flatten them: it is left to the table."""
    own = [float(value) for line in chart.series for value in (*line.y, *line.low, *line.high) if _number(value)]
    if not own:
        return
    reach = max(own) - min(own) or abs(own[0]) or 1.0
    near = [float(level.y[0]) for level in chart.levels if min(own) - reach < float(level.y[0]) < max(own) + reach]
    low, high = min([*own, *near]), max([*own, *near])
    margin = 0.08 * (high - low)
    layout["yaxis"] |= {"range": [low - margin, high + margin]}


def _number(value: float | str) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _band(line: Series) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*line.x, *reversed(line.x)],
        "y": [*line.high, *reversed(line.low)],
        "fill": "toself",
        "fillcolor": _translucent(line.color),
        "line": {"width": 0},
        "hoverinfo": "skip",
    }


def _translucent(color: str) -> str:
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{_BAND})"


def _level(level: Series) -> dict[str, Any]:
    where = {"xref": "paper", "x0": 0, "x1": 1, "y0": level.y[0], "y1": level.y[0]}
    return {"type": "line", "line": {"color": level.color, "dash": level.dash, "width": 1.5}, **where}


def _level_names(levels: Sequence[Series]) -> list[dict[str, Any]]:
    """Place the levels' names apart, as levels often lie close together.

    Human texts right, controls left, amateurs spread between them, every other one below its line.
    """
    others = [level for level in levels if level.dash not in _PLACES]
    found = []
    for level in levels:
        place = others.index(level) if level in others else 0
        x, anchor = _PLACES.get(level.dash, ((place + 1) / (len(others) + 1), "center"))
        side = "top" if place % 2 else "bottom"
        words = {"text": html_text(level.label), "showarrow": False, "font": {"size": 11, "color": level.color}}
        found.append({**words, "xref": "paper", "x": x, "xanchor": anchor, "y": level.y[0], "yanchor": side})
    return found


_PLACES = {"dot": (1.0, "right"), "dash": (0.0, "left")}


def _curves(chart: Chart, layout: dict[str, Any]) -> list[dict[str, Any]]:
    layout["height"] = 380
    layout["xaxis"] |= {"range": [0, 1.02]}
    layout["yaxis"] |= {"range": [0, 1.02]}
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": line.label,
            "x": list(line.x),
            "y": list(line.y),
            "line": {"color": line.color, "dash": line.dash, "width": 2},
            "hovertemplate": f"{_plain(line.label)}<extra></extra>",
        }
        for line in chart.series
    ]


def html_text(text: str) -> str:
    """Escape a text for plotly's labels, which read a few tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _plain(text: str) -> str:
    """Escape a text for plotly's templates, which read `%{…}` as well."""
    return html_text(text).replace("%{", "% {")


def _with_rows(labels: Sequence[str], layout: dict[str, Any]) -> None:
    """Give each label a row, with long ones on several lines; none of them is read as plotly's markup."""
    wrapped = ["<br>".join(html_text(line) for line in wrap(label, _WIDTH)) for label in labels]
    row = _ROW * (1 + 0.45 * (max(text.count("<br>") for text in wrapped)))
    layout["yaxis"] |= {"tickmode": "array", "tickvals": list(labels), "ticktext": wrapped}
    layout["xaxis"] |= {"rangemode": "tozero"}
    layout["height"] = _FRAME + round(row * len(labels))


def _bars(chart: Chart, layout: dict[str, Any]) -> list[dict[str, Any]]:
    layout |= {"barmode": "stack", "bargap": 0.3}
    _with_rows(list(dict.fromkeys(str(bar) for part in chart.series for bar in part.y)), layout)
    return [
        {
            "type": "bar",
            "orientation": "h",
            "name": part.label,
            "x": list(part.x),
            "y": list(part.y),
            "marker": {"color": part.color},
            "hovertemplate": f"%{{y}}<br>{_plain(part.label)}: %{{x:.4~g}} {chart.x_title}<extra></extra>",
        }
        for part in chart.series
    ]


def _boxes(chart: Chart, layout: dict[str, Any]) -> list[dict[str, Any]]:
    _with_rows([box.label for box in chart.series], layout)
    return [
        {
            "type": "box",
            "orientation": "h",
            "y": list(box.y),
            "lowerfence": [box.x[0]],
            "q1": [box.x[1]],
            "median": [box.x[2]],
            "q3": [box.x[3]],
            "upperfence": [box.x[4]],
            "line": {"color": box.color, "width": 1.5},
            "name": box.label,
        }
        for box in chart.series
    ]


def _columns(chart: Chart, layout: dict[str, Any]) -> list[dict[str, Any]]:
    layout |= {"barmode": "stack", "height": 360, "showlegend": True, "legend": {"orientation": "h", "y": 1.12}}
    layout["xaxis"] |= {"type": "category"}
    return [
        {
            "type": "bar",
            "name": html_text(part.label),
            "x": list(part.names),
            "y": list(part.y),
            "marker": {"color": part.color},
        }
        for part in chart.series
    ]


def _heat(chart: Chart, layout: dict[str, Any]) -> list[dict[str, Any]]:
    """Values from 0 on, a row a series, the first one at the bottom."""
    places = list(range(len(chart.ticks)))
    layout |= {"height": 90 + 22 * len(chart.series), "width": max(640, 66 * len(places) + 150)}
    layout["margin"] = {"l": 56, "r": 10, "t": 30, "b": 10}
    ticks = [html_text(tick) for tick in chart.ticks]
    layout["xaxis"] |= {"tickvals": places, "ticktext": ticks, "side": "top", "showgrid": False}
    layout["yaxis"] |= {"type": "category", "showgrid": False}
    return [
        {
            "type": "heatmap",
            "x": places,
            "y": [row.label for row in chart.series],
            "z": [list(row.y) for row in chart.series],
            "text": [[html_text(name) for name in row.names] for row in chart.series],
            "texttemplate": "%{text}",
            "textfont": {"size": 11},
            "colorscale": [[0, "#fcfcfc"], [1, chart.series[0].color]],
            "zmin": 0,
            "customdata": [list(row.hovers) for row in chart.series],
            "hovertemplate": "%{customdata}<extra></extra>",
            "colorbar": {"thickness": 10},
        }
    ]


_TRACES: dict[str, Callable[[Chart, dict[str, Any]], list[dict[str, Any]]]] = {
    "lines": _lines,
    "curves": _curves,
    "bars": _bars,
    "columns": _columns,
    "boxes": _boxes,
    "heat": _heat,
}
