"""The trace of one generation, as a table for a terminal and as a page: every token, and what stood beside it."""

import math
from functools import partial
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from cdeval.records import Trace, TraceStep, Weighed
from cdeval.report.rendering import render
from cdeval.report.table import MISSING
from cdeval.store.escaping import printable, token_text
from cdeval.store.folder import replace_file
from cdeval.store.strict_json import encode, to_page

shown = partial(token_text, most=24)


def write_trace(trace: Trace, page: Path) -> list[Path]:
    """Write the page and, beside it, the same as JSON. Returns: both. Raises: StorageError: the disk refuses."""
    data = page.with_suffix(".json")
    replace_file(data, to_page(trace))
    replace_file(page, encode(to_html(trace)))
    return [page, data]


def trace_table(trace: Trace) -> Table:
    """Build the table, a row a token; those that the contrast flipped are marked."""
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


def summary(trace: Trace) -> str:
    """Say in a sentence how often the contrast's favourite was not the expert's."""
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
    """Write the page as HTML: the text, each token a link to its step, and the steps."""
    return render(
        "trace/page.html.j2",
        eyebrow=f"cdeval trace · {trace.expert} · {trace.label}",
        headline=summary(trace),
        trace=trace,
        rows=_rows,
        shown=shown,
        probability=_probability,
        number=_number,
    )


def _rows(step: TraceStep) -> list[Weighed]:
    """The step's likeliest tokens, and the chosen one in any case."""
    known = {one.token for one in step.candidates}
    return [*step.candidates, *([] if step.chosen.token in known else [step.chosen])]


def _probability(log_p: float | None) -> str:
    return MISSING if log_p is None else f"{math.exp(log_p):.2g}"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"
