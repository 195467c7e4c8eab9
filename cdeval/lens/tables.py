"""What each layer knows, as a table: a row a layer, three numbers a lens."""

import math
from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from cdeval.records import EXPERT, Estimate, Foretelling, LensScore, Predicted
from cdeval.report.table import MISSING
from cdeval.store.escaping import printable


def lens_table(scores: Sequence[LensScore]) -> Table:
    """The table for a terminal, for three lenses in 80 columns; the expert itself comes last."""
    *exits, expert = scores
    lenses = list(dict.fromkeys(score.lens for score in exits))
    legend = "NLL of the next token, KL(expert || exit) [nats]; top-1: share of equal likeliest tokens"
    table = Table(
        title=Text("what each layer knows", style="bold"),
        caption=Text(legend),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("layer", justify="right", no_wrap=True)
    for lens in lenses:
        for header in ("NLL", "KL", "top-1"):
            table.add_column(f"{lens}\n{header}", justify="right", no_wrap=True)
    for layer in dict.fromkeys(score.layer for score in exits):
        mine = {score.lens: score for score in exits if score.layer == layer}
        table.add_row(str(layer), *(cell for lens in lenses for cell in _cells(mine.get(lens))))
    table.add_row(EXPERT, *_cells(expert), *[""] * (3 * len(lenses) - 3))
    return table


def contrast_table(scores: Sequence[LensScore], contrast: tuple[float, float, float]) -> Table:
    """What contrasting with each layer would do, for three lenses in 80 columns: entropy, changed choices, margin."""
    *exits, expert = scores
    alpha, beta, temperature = contrast
    lenses = list(dict.fromkeys(score.lens for score in exits))
    legend = (
        f"H: entropy [nats], {expert.entropy:.2f} of the expert; flips: share of positions where the contrast "
        f"(α={alpha:g} β={beta:g} T={temperature:g}; {expert.plausible:.1f} plausible tokens) changes the likeliest "
        "token; margin: what it pays for new text less what it pays for repeating, "
        f"{expert.margin.value:+.2f} without contrast [nats, 95 % interval over passages]"
    )
    table = Table(
        title=Text("what contrasting with each layer would do", style="bold"),
        caption=Text(legend),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=0,  # ten columns
    )
    table.add_column("layer", justify="right", no_wrap=True)
    for lens in lenses:
        for header in ("H", "flips", "margin"):
            table.add_column(f"{lens}\n{header}", justify="right", no_wrap=True)
    for layer in dict.fromkeys(score.layer for score in exits):
        mine = {score.lens: score for score in exits if score.layer == layer}
        table.add_row(str(layer), *(cell for lens in lenses for cell in _contrast_cells(mine.get(lens))))
    return table


def prediction_table(settings: Sequence[Predicted]) -> Table:
    """A study's settings, from the lowest margin to the highest."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("setting", overflow="fold")
    for header in ("margin", "95 % interval", "KL", "diversity"):
        table.add_column(header, justify="right", no_wrap=True)
    for one in sorted(settings, key=lambda one: one.margin.value):
        ends = MISSING if math.isnan(one.margin.low) else f"{_end(one.margin.low)} to {_end(one.margin.high)}"
        kl = MISSING if math.isnan(one.kl) else f"{one.kl:.2f}"
        label = Text(printable(one.label))
        table.add_row(label, f"{one.margin.value:+.2f}", ends, kl, f"{one.diversity:.3f}")
    return table


def rank_table(ranks: Mapping[str, Foretelling]) -> Table:
    """How alike the orders are, among all settings of a search and among those of one lens or α."""
    legend = (
        "ρ: Spearman's, with diversity. Margin: 1 would be the same order. KL(expert || amateur), of the exits alone: "
        "−1 would be, the nearer to the expert the more diverse"
    )
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), caption=Text(legend), caption_justify="left"
    )
    table.add_column("ranked together", overflow="fold")
    for header in ("settings", "margin's ρ", "95 % interval", "KL's ρ", "95 % interval"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, rank in ranks.items():
        table.add_row(name, str(rank.margin.n), *_rank_cells(rank.margin), *_rank_cells(rank.kl))
    return table


def _rank_cells(rank: Estimate) -> tuple[str, str]:
    if math.isnan(rank.value):
        return MISSING, MISSING
    return f"{rank.value:+.2f}", MISSING if math.isnan(rank.low) else f"{rank.low:+.2f} to {rank.high:+.2f}"


def _contrast_cells(score: LensScore | None) -> tuple[str, str, str]:
    if score is None:
        return MISSING, MISSING, MISSING
    ends = "" if math.isnan(score.margin.low) else f"\n{_end(score.margin.low)} to {_end(score.margin.high)}"
    return f"{score.entropy:.2f}", f"{score.changed:.0%}", f"{score.margin.value:+.2f}{ends}"


def _end(value: float) -> str:
    """Four signs for any margin: raw logits have some of hundreds of nats."""
    return f"{value:+.0f}" if abs(value) >= 10 else f"{value:+.1f}"


def _cells(score: LensScore | None) -> tuple[str, str, str]:
    if score is None:
        return MISSING, MISSING, MISSING
    return f"{score.nll:.3f}", f"{score.kl:.3f}", f"{score.agreement:.3f}"
