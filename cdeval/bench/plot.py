"""The picture of a bench: a panel a group, bars of milliseconds a token, or lines where something grows."""

from collections.abc import Sequence
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from cdeval.bench.arms import OURS
from cdeval.bench.plan import GroupResult
from cdeval.bench.table import series_of
from cdeval.errors import ConfigError
from cdeval.store.folder import replace_file
from cdeval.store.private import masked

_COLUMNS = 2
_OURS, _THEIRS = "#228833", "#4477aa"


def draw(results: Sequence[GroupResult], title: str, path: Path) -> None:
    """Write a PNG in one step: a reader sees the old picture or the new one.

    Raises: ConfigError: matplotlib is not installed.
    """
    try:
        figures: Any = import_module("matplotlib.figure")  # optional, so never imported at the top
    except ImportError as error:
        raise ConfigError(
            f"{path.name} is not drawn, matplotlib is not installed: pip install 'cdeval[bench]'"
        ) from error
    rows = -(-len(results) // _COLUMNS)
    figure = figures.Figure(figsize=(7 * _COLUMNS, 3.6 * rows + 0.5), layout="constrained", dpi=110)
    figure.suptitle(masked(title), fontsize=10)
    panels = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
    for panel, result in zip(panels, results, strict=False):
        (_lines if result.axis else _bars)(panel, result)
        panel.set_title(f"{result.name}: {result.title}", fontsize=9, wrap=True)
    for panel in panels[len(results) :]:
        panel.set_axis_off()
    picture = BytesIO()
    figure.savefig(picture, format="png")
    replace_file(path, picture.getvalue())


def _bars(panel: Any, result: GroupResult) -> None:
    """Milliseconds a token, in the order of the table, whiskers from the fastest pass to the slowest."""
    timings = list(result.timings.values())[::-1]
    scales = [1e3 / (timing.texts * timing.new_tokens) for timing in timings]
    pairs = list(zip(timings, scales, strict=True))
    whiskers = [
        [scale * (timing.median - min(timing.seconds)) for timing, scale in pairs],
        [scale * (max(timing.seconds) - timing.median) for timing, scale in pairs],
    ]
    panel.barh(
        [timing.label for timing in timings],
        [scale * timing.median for timing, scale in pairs],
        xerr=whiskers,
        color=[_OURS if timing.label.startswith(f"{OURS} ") else _THEIRS for timing in timings],
        capsize=3,
    )
    panel.set_xlabel("ms a token (median, fastest to slowest pass)")
    panel.tick_params(labelsize=8)


def _lines(panel: Any, result: GroupResult) -> None:
    """Both axes logarithmic: a line that climbs one decade a decade is linear growth."""
    for series, timings in series_of(result).items():
        color = _OURS if series.startswith(f"{OURS} ") else _THEIRS
        places = [timing.x for timing in timings]
        panel.plot(places, [timing.median for timing in timings], marker="o", color=color, label=series)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.xaxis.set_major_formatter(_plain)
    panel.set_xlabel(result.axis)
    panel.set_ylabel("seconds")
    panel.grid(visible=True, which="both", alpha=0.3)
    panel.legend(fontsize=8)


def _plain(value: float, _position: int) -> str:
    return f"{value:g}"
