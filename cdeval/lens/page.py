"""The picture of one prompt: every layer's likeliest next token after every token, and how the last ones come to be."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from cdeval.records import Trajectory
from cdeval.report.charts import GREY, LINES, ORANGE, TEAL
from cdeval.report.drawing import html_text
from cdeval.report.rendering import PLOTLY, render
from cdeval.store.folder import replace_file
from cdeval.store.strict_json import encode

# name: what its colours mean, and the colours of 0 and of the most
_MEASURES = {
    "probability": ("probability of the likeliest token", ("#f7fbff", "#08306b")),
    "entropy": ("entropy of the layer [nats]", ("#fff5eb", "#7f2704")),
    "kl": ("KL(expert || layer) [nats]", ("#fcfbfd", "#3f007d")),
}
_COLORS = (*LINES, ORANGE, TEAL, GREY)
_SIGNS = 12  # of a token that are shown in a cell


def write_trajectory(found: Trajectory, page: Path) -> list[Path]:
    """The page and, beside it, a PNG. Returns: both. Raises: StorageError: the disk refuses."""
    picture = page.with_suffix(".png")
    replace_file(picture, to_png(found))
    replace_file(page, encode(to_html(found)))
    return [page, picture]


def shown(token: str) -> str:
    """A token as the field writes it: its spaces and line ends to be seen, its length bounded.

    >>> shown(" Honolulu")
    '▁Honolulu'
    """
    seen = token.replace(" ", "▁").replace("\n", "⏎")
    plain = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in seen)
    return plain if len(plain) <= _SIGNS else f"{plain[: _SIGNS - 1]}…"


def to_html(found: Trajectory) -> str:
    """Write the page as HTML."""
    return render(
        "lens/page.html.j2",
        scripts=(PLOTLY, "lens/page.js"),
        data={"heat": {name: _heat(found, name) for name in _MEASURES}, "bars": _bars(found)},
        eyebrow=f"cdeval lens · {found.lens} · {len(found.layers) - 1} layers and the expert",
        headline=f"{''.join(found.tokens)} …{shown(found.candidates[0])}",
        lead=_sentence(found),
        measures={name: title for name, (title, _) in _MEASURES.items()},
    )


def _sentence(found: Trajectory) -> str:
    """From which layer on the expert's own choice is the likeliest."""
    last, choice = found.top[-1][-1], shown(found.candidates[0])
    stays = len(found.layers) - 1
    while stays and found.top[stays - 1][-1] == last:
        stays -= 1
    return (
        f"The expert continues with {choice} (probability {found.probability[-1][-1]:.2f}); from layer "
        f"{found.layers[stays]} of {found.layers[-1]} on it is every layer's first choice."
    )


def _names(found: Trajectory) -> list[str]:
    return [*(str(layer) for layer in found.layers[:-1]), "expert"]


def _heat(found: Trajectory, name: str) -> dict[str, Any]:
    places = list(range(len(found.tokens)))
    cells = [[html_text(shown(token)) for token in row] for row in found.top]
    axis = {"fixedrange": True, "automargin": True, "showgrid": False}
    return {
        "data": [
            {
                "type": "heatmap",
                "x": places,
                "y": _names(found),
                "z": [list(row) for row in getattr(found, name)],
                "text": cells,
                "texttemplate": "%{text}",
                "textfont": {"size": 11},
                "colorscale": list(enumerate(_MEASURES[name][1])),
                "zmin": 0,
                "customdata": _hovers(found),
                "hovertemplate": "%{customdata}<extra></extra>",
                "colorbar": {"thickness": 10},
            }
        ],
        "layout": {
            "height": 90 + 22 * len(found.layers),
            "width": max(640, 66 * len(places) + 150),
            "margin": {"l": 56, "r": 10, "t": 30, "b": 10},
            "xaxis": axis
            | {"tickvals": places, "ticktext": [html_text(shown(token)) for token in found.tokens], "side": "top"},
            "yaxis": axis | {"type": "category", "title": {"text": "after block"}},
        },
    }


def _hovers(found: Trajectory) -> list[list[str]]:
    names = _names(found)
    return [
        [
            f"after {html_text(shown(token))}, layer {names[row]}: <b>{html_text(shown(found.top[row][place]))}</b><br>"
            f"probability {found.probability[row][place]:.3f}, entropy {found.entropy[row][place]:.2f}, "
            f"KL {found.kl[row][place]:.2f} nats"
            for place, token in enumerate(found.tokens)
        ]
        for row in range(len(names))
    ]


def _bars(found: Trajectory) -> dict[str, Any]:
    data = [
        {
            "type": "bar",
            "name": html_text(shown(token)),
            "x": _names(found),
            "y": [row[place] for row in found.followed],
            "marker": {"color": _COLORS[place % len(_COLORS)]},
        }
        for place, token in enumerate(found.candidates)
    ]
    axis = {"fixedrange": True, "automargin": True}
    layout = {
        "barmode": "stack",
        "height": 360,
        "margin": {"l": 48, "r": 10, "t": 10, "b": 44},
        "legend": {"orientation": "h", "y": 1.12},
        "xaxis": axis | {"type": "category", "title": {"text": "after block"}},
        "yaxis": axis | {"title": {"text": "probability"}},
    }
    return {"data": data, "layout": layout}


def to_png(found: Trajectory) -> bytes:
    """The heat map of probabilities above the bars, for papers and slides."""
    with rc_context({"text.parse_math": False, "font.size": 7}):
        rows, columns = len(found.layers), len(found.tokens)
        size = (max(7.0, 0.75 * columns + 1), 0.17 * rows + 3.2)
        figure = Figure(figsize=size, layout="constrained", dpi=150)
        above, below = figure.subplots(2, 1, height_ratios=[0.17 * rows + 0.4, 2.2])
        _draw_heat(above, found)
        _draw_bars(below, found)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        return buffer.getvalue()


def _draw_heat(axes: Any, found: Trajectory) -> None:
    axes.imshow(found.probability, aspect="auto", origin="lower", cmap="Blues", vmin=0, vmax=1)
    for row, tokens in enumerate(found.top):
        for place, token in enumerate(tokens):
            dark = found.probability[row][place] > 0.6
            axes.text(
                place, row, shown(token), ha="center", va="center", fontsize=6, color="white" if dark else "black"
            )
    axes.set_xticks(range(len(found.tokens)), [shown(token) for token in found.tokens])
    axes.set_yticks(range(len(found.layers)), _names(found))
    axes.xaxis.tick_top()
    axes.set_ylabel("after block")
    axes.set_title("likeliest next token after each token of the prompt; colour: its probability", loc="left")


def _draw_bars(axes: Any, found: Trajectory) -> None:
    bottom = [0.0] * len(found.layers)
    for place, token in enumerate(found.candidates):
        heights = [row[place] for row in found.followed]
        axes.bar(_names(found), heights, bottom=bottom, label=shown(token), color=_COLORS[place % len(_COLORS)])
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.set_ylabel("probability after the whole prompt")
    axes.set_ylim(0, _rounded_up(bottom))
    axes.set_xlabel("after block")
    axes.legend(ncols=len(found.candidates), frameon=False)


def _rounded_up(heights: Sequence[float]) -> float:
    return max(0.1, math.ceil(10 * max(heights)) / 10)
