"""Thresholds of early exits as a table: what they save, what they risk, and which are accepted."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from cdeval.records import ThresholdScore

_HEADERS = ("λ", "blocks", "exit\nearly", "FLOPs\nsaved", "risk", "p", "accep-\nted", "risk,\ntest")


def calibration_table(scores: Sequence[ThresholdScore], tolerance: float, level: float) -> Table:
    """The table for a terminal, from the most cautious threshold down."""
    legend = (
        f"accepted: p <= ε={level:g} there and above, p of a true risk over δ={tolerance:g}; blocks, exits and FLOPs: "
        "of the test texts; ms/token of n: with n prompts together, and the share of time saved"
    )
    table = Table(
        title=Text("how early the expert may stop", style="bold"),
        caption=Text(legend),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    timed = list(scores[0].seconds_per_token) if scores else []
    for header in (*_HEADERS, *(f"ms/token\nof {count}" for count in timed)):
        table.add_column(header, justify="right", no_wrap=True)
    for score in scores:
        table.add_row(*_cells(score), *(_time(score, count) for count in timed))
    return table


def _time(score: ThresholdScore, count: int) -> str:
    """Milliseconds a token of so many prompts together, and what that saves over all blocks."""
    return f"{1e3 * score.seconds_per_token[count]:#.3g} {score.time_saved[count]:+5.0%}"


def _cells(score: ThresholdScore) -> tuple[str, ...]:
    return (
        f"{score.threshold:g}",
        f"{score.exit_layer:.1f}",
        f"{score.exit_share:.0%}",
        f"{score.flops_saved:+.1%}",
        f"{score.risk:.3f}",
        f"{score.p:.2g}",
        "yes" if score.accepted else "no",
        f"{score.test_risk:.3f}",
    )
