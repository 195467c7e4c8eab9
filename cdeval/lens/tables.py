"""The table of what each layer knows: a row a layer, three numbers a lens."""

import math
from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from cdeval.records import EXPERT, Estimate, LensScore, MarginCorrelation, PredictedSetting, PrunedBlocks
from cdeval.report.table import MISSING
from cdeval.store.escaping import printable

_LENSES = 3  # that have room for three columns each


def lens_table(scores: Sequence[LensScore]) -> Table:
    """The table for a terminal, for four lenses in 80 columns; the expert itself comes last.

    More than three lenses leave no room for the share of equal likeliest tokens, which the JSON file has.
    """
    *exits, expert = scores
    lenses = list(dict.fromkeys(score.lens for score in exits))
    headers = ("NLL", "KL", "top-1") if len(lenses) <= _LENSES else ("NLL", "KL")
    legend = "NLL of the next token, KL(expert || exit) [nats]"
    if "top-1" in headers:
        legend += "; top-1: share of equal likeliest tokens"
    table = _of_lenses("what each layer knows", lenses, headers, legend, padding=1)
    for layer in dict.fromkeys(score.layer for score in exits):
        mine = {score.lens: score for score in exits if score.layer == layer}
        table.add_row(str(layer), *(cell for lens in lenses for cell in _cells(mine.get(lens))[: len(headers)]))
    table.add_row(EXPERT, *_cells(expert)[: len(headers)], *[""] * (len(headers) * (len(lenses) - 1)))
    return table


def contrast_tables(scores: Sequence[LensScore], contrast: tuple[float, float, float]) -> Iterator[Table]:
    """Show what contrasting with each layer would do, in 80 columns: entropy, changed choices, margin.

    More than three lenses are shown two at a time.
    """
    *exits, expert = scores
    alpha, beta, temperature = contrast
    legend = (
        f"H: entropy [nats], {expert.entropy:.2f} of the expert; flips: share of positions where the contrast "
        f"(α={alpha:g} β={beta:g} T={temperature:g}; {expert.plausible:.1f} plausible tokens) changes the likeliest "
        "token; margin: what it pays for new text less what it pays for repeating, "
        f"{expert.margin.value:+.2f} without contrast [nats, 95 % interval over passages]"
    )
    every = list(dict.fromkeys(score.lens for score in exits))
    at_once = _LENSES if len(every) <= _LENSES else _LENSES - 1
    for start in range(0, len(every), at_once):
        lenses = every[start : start + at_once]
        last = legend if start + at_once >= len(every) else None
        table = _of_lenses(
            "what contrasting with each layer would do", lenses, ("H", "flips", "margin"), last, padding=0
        )
        for layer in dict.fromkeys(score.layer for score in exits):
            mine = {score.lens: score for score in exits if score.layer == layer}
            table.add_row(str(layer), *(cell for lens in lenses for cell in _contrast_cells(mine.get(lens))))
        yield table


def _of_lenses(title: str, lenses: Sequence[str], headers: Sequence[str], legend: str | None, padding: int) -> Table:
    """A table without rows: layers down, some columns for each lens across."""
    table = Table(
        title=Text(title, style="bold"),
        caption=Text(legend) if legend else None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, padding, 0, 0),
    )
    table.add_column("layer", justify="right", no_wrap=True)
    names = {lens: lens.replace("_", "\n") for lens in lenses}
    lines = max(name.count("\n") for name in names.values())
    for lens in lenses:
        above = "\n" * (lines - names[lens].count("\n"))
        for place, header in enumerate(headers):
            name = "\n" * lines if place else f"{above}{names[lens]}"  # once, so that numbers have the room
            table.add_column(f"{name}\n{header}", justify="right", no_wrap=True)
    return table


def prune_table(steps: Sequence[PrunedBlocks], held_out: PrunedBlocks) -> Table:
    """Show the best choice of blocks of each step, and the last one on texts that it was not chosen by."""
    legend = (
        "margin: what the contrast pays for new text less what it pays for repeating [nats, 95 % interval over "
        "passages]; KL(expert || rest) [nats]"
    )
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), caption=Text(legend), caption_justify="left"
    )
    table.add_column("blocks left out", overflow="fold")
    for header in ("margin", "95 % interval", "KL"):
        table.add_column(header, justify="right", no_wrap=True)
    for one, where in [*((step, "") for step in steps), (held_out, ", on the other split")]:
        blocks = f"{', '.join(map(str, one.left_out))}{where}"
        table.add_row(blocks, *_margin_cells(one.margin), f"{one.kl:.2f}")
    return table


def prediction_table(settings: Sequence[PredictedSetting]) -> Table:
    """A study's settings, from the lowest margin to the highest."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("setting", overflow="fold")
    for header in ("margin", "95 % interval", "KL", "diversity"):
        table.add_column(header, justify="right", no_wrap=True)
    for one in sorted(settings, key=lambda one: one.margin.value):
        kl = MISSING if math.isnan(one.kl) else f"{one.kl:.2f}"
        label = Text(printable(one.label))
        table.add_row(label, *_margin_cells(one.margin), kl, f"{one.diversity:.3f}")
    return table


def rank_table(ranks: Mapping[str, MarginCorrelation]) -> Table:
    """Show how alike the orders are, among all settings of a search and among those of one lens or α."""
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


def _margin_cells(margin: Estimate) -> tuple[str, str]:
    """Write a margin and its interval."""
    ends = MISSING if math.isnan(margin.low) else f"{_end(margin.low)} to {_end(margin.high)}"
    return f"{margin.value:+.2f}", ends


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
