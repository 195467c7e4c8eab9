"""`python -m cdeval.price`: what contrast costs on paper, for architectures of any size, without their weights."""

from cdeval.cli import Schema, run_schema
from cdeval.price.config import PriceRun, validate_price
from cdeval.price.tables import price_tables
from cdeval.report.drafting import drafting_tables
from cdeval.store.screen import Screen


def price(config: PriceRun) -> None:
    """Print the tables to the standard output, everything else to the error output."""
    from cdeval.price.pipeline import run_prices, worst_difference  # noqa: PLC0415 - torch takes seconds; --help must not

    progress = Screen(errors=True)
    found = run_prices(config, say=progress.say)
    console = Screen()
    for table in price_tables(found.prices):
        console.print(table)
    for pair, exits in found.drafting.items():
        for table in drafting_tables(exits, f"would drafting pay? {pair}"):
            console.print(table)
    worst, speed, peak = worst_difference(found.prices), config.bandwidth / 1e12, config.peak_flops / 1e12
    notes = (
        f"one text of {config.prompt_tokens} + {config.new_tokens} tokens, {config.beams} beams, {config.dtype.name}; "
        "arms: overhead over the expert alone",
        f"counted: by torch's counter on the shapes; the formula differs by {worst:.2%} at most",
        f"bound: the more of bytes at {speed:g} TB/s and FLOPs at {peak:g} TFLOP/s ({config.device}), one text",
        f"results: {found.file}" + (f" and {found.drafting_file}" if found.drafting_file else ""),
    )
    for note in notes:
        console.say(f"  {note}")


if __name__ == "__main__":
    run_schema(price, Schema(PriceRun, validate_price), config_name="price")
