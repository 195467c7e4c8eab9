"""Architectures on paper as tables: one a pair, one row an arm."""

from collections.abc import Sequence
from itertools import groupby

from rich import box
from rich.table import Table
from rich.text import Text

from cdeval.records import Price
from cdeval.store.escaping import printable

_HEADERS = ("FLOPs\n/token", "counted", "bytes\n/token", "para-\nmeters", "KV", "bound ms\n/token")


def price_tables(prices: Sequence[Price]) -> list[Table]:
    """Absolute numbers of the expert alone, then each arm's overhead over it."""
    return [_table(pair, list(rows)) for pair, rows in groupby(prices, key=lambda price: price.pair)]


def _table(pair: str, rows: Sequence[Price]) -> Table:
    table = Table(title=Text(printable(pair), style="bold"), box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    table.add_column("arm", overflow="fold")
    for header in _HEADERS:
        table.add_column(header, justify="right", no_wrap=True)
    first, *others = rows
    table.add_row(
        printable(first.arm),
        f"{first.flops_per_token / 1e9:.4g} G",
        f"{1 / (1 + first.counted_difference):.4f} ×",
        f"{first.bytes_per_token / 1e9:.4g} GB",
        f"{first.parameters / 1e9:.4g} G",
        f"{first.cache_bytes / 1e6:.4g} MB",
        f"{1e3 * first.bound_seconds_per_token:.3g}",
    )
    for price in others:
        ratios = (
            price.flops_overhead,
            price.counted_overhead,
            price.bytes_overhead,
            price.parameters_overhead,
            price.cache_overhead,
            price.bound_seconds_per_token / first.bound_seconds_per_token - 1,
        )
        table.add_row(printable(price.arm), *(f"{100 * ratio:+.2f} %" for ratio in ratios))
    return table
