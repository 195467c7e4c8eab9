"""The trace of one generation, as a table for a terminal and as a page: every token, and what stood beside it."""

import html
import math
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from cdeval.records import Trace, TraceStep, Weighed
from cdeval.report.document import Body, document
from cdeval.report.table import MISSING
from cdeval.store.escaping import printable
from cdeval.store.folder import replace_file
from cdeval.store.strict_json import encode, to_page

_SIGNS = 24  # of a token that are shown


def write_trace(trace: Trace, page: Path) -> list[Path]:
    """The page and, beside it, the same as JSON. Returns: both. Raises: StorageError: the disk refuses."""
    data = page.with_suffix(".json")
    replace_file(data, to_page(trace))
    replace_file(page, encode(to_html(trace)))
    return [page, data]


def trace_table(trace: Trace) -> Table:
    """A row a token; those that the contrast flipped are marked."""
    table = Table(
        title=Text(f"{printable(trace.label)}, token by token", style="bold"),
        caption=Text(
            "p: probability by the expert and by the amateur; score [nats]; plausible: tokens that could be chosen; ✱: "
            "the contrast's favourite is not the expert's"
        ),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for header in ("token", "p expert", "p amateur", "score", "plausible", "", "expert's favourite"):
        table.add_column(header, justify="left" if header in ("token", "expert's favourite", "") else "right")
    for step in trace.steps:
        own = step.chosen
        other = "" if own.text == step.expert_favourite else shown(step.expert_favourite)
        cells = [_probability(own.log_expert), _probability(own.log_amateur), _number(own.score), str(step.plausible)]
        table.add_row(Text(shown(own.text)), *cells, "✱" if step.flipped else "", Text(other))
    return table


def shown(token: str) -> str:
    """A token as a reader can see it: spaces and breaks by signs of their own, in a few letters.

    >>> shown(" rose") + shown(chr(10))
    '▁rose⏎'
    """
    plain = printable(token.replace(" ", "▁").replace("\n", "⏎").replace("\t", "⇥"))
    return plain if len(plain) <= _SIGNS else f"{plain[: _SIGNS - 1]}…"


def summary(trace: Trace) -> str:
    """How often the contrast had another mind than the expert, in a sentence."""
    flips, count = sum(step.flipped for step in trace.steps), len(trace.steps)
    if not count:
        return "The text is empty."
    taken = sum(step.chosen.text != step.expert_favourite for step in trace.steps)
    width = sum(step.plausible for step in trace.steps) / count
    return (
        f"At {flips} of {count} tokens the best score was not the expert's likeliest token; {taken} tokens of the text "
        f"are not the expert's likeliest; {width:.1f} tokens were plausible on average."
    )


def to_html(trace: Trace) -> str:
    """The page: the text, each token a link to its step."""
    tokens = "".join(_token(place, step) for place, step in enumerate(trace.steps))
    steps = "".join(_step(place, step) for place, step in enumerate(trace.steps))
    body = Body(
        title="Trace of one generation · cdeval",
        eyebrow=f"cdeval trace · {trace.expert} · {trace.label}",
        headline=summary(trace),
        more=(
            f'<p class="lead">Score {trace.score:.2f} nats, log-probability by the expert {trace.logprob_expert:.2f} '
            "nats. Marked tokens are those at which the contrast changed the favourite; each leads to its step.</p>"
        ),
        nav="",
        main=(
            f'<section><h2>The text</h2><p class="text"><em>{html.escape(trace.prompt)}</em>{tokens}</p></section>'
            f"<section><h2>Step by step</h2>{steps}</section>"
        ),
    )
    return document(body)


def _token(place: int, step: TraceStep) -> str:
    text = html.escape(step.chosen.text)
    marked = f"<mark>{text}</mark>" if step.flipped else text
    return f'<a href="#s{place}" title="{html.escape(_hover(step))}" style="color:inherit">{marked}</a>'


def _hover(step: TraceStep) -> str:
    own = step.chosen
    return (
        f"p expert {_probability(own.log_expert)}, amateur {_probability(own.log_amateur)}, score {_number(own.score)}"
    )


def _step(place: int, step: TraceStep) -> str:
    said = f"{place + 1}. {html.escape(shown(step.chosen.text))}"
    if step.flipped:
        favourite = html.escape(shown(step.expert_favourite))
        said = f"<mark>{said}</mark> <small>instead of the expert’s {favourite}</small>"
    rows = list(step.candidates)
    if step.chosen.token not in {one.token for one in rows}:
        rows.append(step.chosen)
    table = _rows(
        ("token", "p expert", "log p expert", "p amateur", "log p amateur", "score"),
        [_weighed(one, own=one.token == step.chosen.token) for one in rows],
    )
    beams = "".join(
        f"<li>{'<strong>' if place == step.beam else ''}{beam.total:.2f} nats: {html.escape(shown(beam.text))} after "
        f"beam {beam.parent + 1}{'</strong>, the text’s own' if place == step.beam else ''}</li>"
        for place, beam in enumerate(step.beams)
    )
    kept = f'<p class="note">Beams kept:</p><ol class="note">{beams}</ol>' if len(step.beams) > 1 else ""
    number = f"{step.plausible} plausible token{'s' if step.plausible != 1 else ''}"
    return f'<details id="s{place}" open><summary>{said}</summary><p class="note">{number}</p>{table}{kept}</details>'


def _rows(headers: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th>{name}</th>" for name in headers)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _weighed(one: Weighed, *, own: bool) -> str:
    numbers = (
        _probability(one.log_expert),
        _number(one.log_expert),
        _probability(one.log_amateur),
        _number(one.log_amateur),
        "implausible" if one.score is None else _number(one.score),
    )
    cells = "".join(f"<td>{cell}</td>" for cell in numbers)
    row = '<tr class="pointed">' if own else "<tr>"
    return f"{row}<th>{html.escape(shown(one.text))}</th>{cells}</tr>"


def _probability(log_p: float | None) -> str:
    return MISSING if log_p is None else f"{math.exp(log_p):.2g}"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"
