"""The page of a tuning, `tune.html`: the curves of the best of n settings, what was chosen, and all that was tried."""

import base64
import math
from collections.abc import Sequence
from pathlib import Path

from cdeval.report.charts import GREY, LINES, ORANGE, TEAL, Chart, Dash, Series
from cdeval.report.rendering import render
from cdeval.report.stills import picture
from cdeval.report.table import MISSING
from cdeval.store.folder import replace_file
from cdeval.store.strict_json import encode
from cdeval.tune.arms import Tuned
from cdeval.tune.criterion import Criterion
from cdeval.tune.tables import CAUTION, chosen_rows, number, point_cell

_COLORS = (*LINES, ORANGE, TEAL, GREY)
_DASHES: tuple[Dash, ...] = ("solid", "dash", "dot", "dashdot")


def write_page(page: Path, study: str, tuned: Sequence[Tuned], criterion: Criterion, confidence: float) -> None:
    """Write the page and, beside it, its picture as PNG. Raises: StorageError: the disk refuses."""
    drawn = picture([_curves(tuned, criterion)])["png"]
    replace_file(page.with_suffix(".png"), drawn)
    content = render(
        "tune/page.html.j2",
        eyebrow=f"cdeval tune · {study} · {len(tuned)} arms, {len(tuned[0].settings)} settings each",
        headline=f"Best by {criterion}",
        caution=CAUTION,
        drawing=f"data:image/png;base64,{base64.b64encode(drawn).decode()}",
        confidence=confidence,
        metrics=criterion.metrics,
        criterion=criterion.text,
        chosen=chosen_rows(tuned, criterion),
        curves=[(one.arm.name, [point_cell(point) for point in one.curve]) for one in tuned],
        tried=[
            (
                one.arm.line,
                [
                    (
                        " ".join(setting.overrides) or setting.label,
                        number(setting.value),
                        [
                            number(setting.scores[name].value) if name in setting.scores else MISSING
                            for name in criterion.metrics
                        ],
                        place == one.best,
                    )
                    for place, setting in enumerate(one.settings)
                ],
            )
            for one in tuned
        ],
    )
    replace_file(page, encode(content))


def _curves(tuned: Sequence[Tuned], criterion: Criterion) -> Chart:
    lines = []
    for place, one in enumerate(tuned):
        color, dash = _COLORS[place % len(_COLORS)], _DASHES[place // len(_COLORS) % len(_DASHES)]
        points = [point for point in one.curve if math.isfinite(point.value)]
        n, value = [float(point.n) for point in points], [point.value for point in points]
        low, high = [point.low for point in points], [point.high for point in points]
        names = [one.arm.name] * len(points)
        if points:
            lines.append(Series(one.arm.name, n, value, low, high, color=color, dash=dash, names=names))
    title = f"best of n settings by {criterion}"
    return Chart("best-of-n", title, "lines", "settings tried, n", criterion.text, lines)
