"""The picture of one prompt: every layer's likeliest next token after every token, and how the last ones come to be."""

from functools import partial
from pathlib import Path

from cdeval.records import Trajectory
from cdeval.report.charts import GREY, LINES, ORANGE, TEAL, Chart, Series
from cdeval.report.drawing import html_text, plotly_of
from cdeval.report.rendering import PLOTLY, render
from cdeval.report.stills import picture
from cdeval.store.escaping import token_text
from cdeval.store.folder import replace_file
from cdeval.store.strict_json import encode

# By its name in a trajectory: how it is called, and the colour of the most.
_MEASURES = {
    "probability": ("probability of the likeliest token", "#08306b"),
    "entropy": ("entropy of the layer [nats]", "#7f2704"),
    "kl": ("KL(expert || layer) [nats]", "#3f007d"),
}
_COLORS = (*LINES, ORANGE, TEAL, GREY)
shown = partial(token_text, most=12)


def write_trajectory(found: Trajectory, page: Path) -> list[Path]:
    """Write the page and, beside it, a PNG. Returns: both. Raises: StorageError: the disk refuses."""
    beside = page.with_suffix(".png")
    replace_file(beside, to_png(found))
    replace_file(page, encode(to_html(found)))
    return [page, beside]


def to_png(found: Trajectory) -> bytes:
    """Draw the heat map of probabilities above the likeliest last tokens, for papers, slides and notebooks."""
    return picture([_heat(found, "probability"), _candidates(found)])["png"]


def to_html(found: Trajectory) -> str:
    """Write the page as HTML."""
    return render(
        "lens/page.html.j2",
        scripts=(PLOTLY, "lens/page.js"),
        data={
            "heat": {name: plotly_of(_heat(found, name)) for name in _MEASURES},
            "bars": plotly_of(_candidates(found)),
        },
        eyebrow=f"cdeval lens · {found.lens} · {len(found.layers) - 1} layers and the expert",
        headline=f"{''.join(found.tokens)} …{shown(found.candidates[0])}",
        lead=_sentence(found),
        measures={name: title for name, (title, _) in _MEASURES.items()},
    )


def _sentence(found: Trajectory) -> str:
    """Say from which layer on the expert's own choice is the likeliest."""
    last, choice = found.top[-1][-1], shown(found.candidates[0])
    stays = len(found.layers) - 1
    while stays and found.top[stays - 1][-1] == last:
        stays -= 1
    return (
        f"The expert continues with {choice} (probability {found.probability[-1][-1]:.2f}); from layer "
        f"{found.layers[stays]} of {found.layers[-1]} on it is every layer's first choice."
    )


def _rows(found: Trajectory) -> list[str]:
    return [*(str(layer) for layer in found.layers[:-1]), "expert"]


def _heat(found: Trajectory, name: str) -> Chart:
    """Chart what every layer would say after every token, coloured by one of the measures."""
    heading, color = _MEASURES[name]
    rows = [
        Series(
            label,
            range(len(found.tokens)),
            values,
            color=color,
            names=[shown(token) for token in found.top[row]],
            hovers=[_hover(found, row, place, label) for place in range(len(found.tokens))],
        )
        for row, (label, values) in enumerate(zip(_rows(found), getattr(found, name), strict=True))
    ]
    title = f"likeliest next token after each token of the prompt; colour: {heading}"
    return Chart(name, title, "heat", "", "after block", rows, ticks=[shown(token) for token in found.tokens])


def _hover(found: Trajectory, row: int, place: int, label: str) -> str:
    token, choice = html_text(shown(found.tokens[place])), html_text(shown(found.top[row][place]))
    return (
        f"after {token}, layer {label}: <b>{choice}</b><br>probability {found.probability[row][place]:.3f}, "
        f"entropy {found.entropy[row][place]:.2f}, KL {found.kl[row][place]:.2f} nats"
    )


def _candidates(found: Trajectory) -> Chart:
    """Chart the probabilities of the expert's likeliest next tokens, layer by layer."""
    parts = [
        Series(
            shown(token),
            (),
            [row[place] for row in found.followed],
            color=_COLORS[place % len(_COLORS)],
            names=_rows(found),
        )
        for place, token in enumerate(found.candidates)
    ]
    return Chart("candidates", "after the whole prompt", "columns", "after block", "probability", parts)
