"""The schema of `conf/price.yaml`: which architectures are priced on paper, and for which texts."""

from dataclasses import dataclass, field

from cdeval.config.enums import Dtype
from cdeval.config.fields import check_values, number
from cdeval.config.pairs import check_pairs
from cdeval.config.plugins import TakesPlugins
from cdeval.errors import ConfigError

_TOKENS = 1_000_000


@dataclass
class PriceRun(TakesPlugins):
    """The root of `conf/price.yaml`."""

    # An expert, or an expert and its small amateur: names of conf/architecture/, hub ids or local folders.
    pairs: list[str] = field(
        default_factory=lambda: [
            "gpt2-xl+gpt2",
            "opt-13b+opt-125m",
            "opt-6.7b+opt-125m",
            "llama-2-7b-hf",
            "smollm2-135m",
        ]
    )
    dtype: Dtype = Dtype.bfloat16
    prompt_tokens: int = number(32, least=1, most=_TOKENS)  # of each text
    new_tokens: int = number(256, least=1, most=_TOKENS)  # of each text
    beams: int = number(5, least=1, most=1000)  # of beam search; 1 is greedy
    # Blocks of the truncated expert, as a share of all.
    truncated: float = number(0.25, least=0, open_least=True, most=1, open_most=True, hint="a share of the blocks")
    # What `cdeval.lens` measured, its JSON file: would drafting by the exits pay at these shapes?
    drafting: str | None = None
    device: str = "A100 80GB"  # whose the next two numbers are, for the table's note
    bandwidth: float = number(2.0e12, least=1, most=1e24)  # of its memory [bytes/s]
    peak_flops: float = number(312e12, least=1, most=1e24)  # of its matrix products in this number format [FLOP/s]
    runs: str = "runs"  # results go to <runs>/price.json, and of drafting to <runs>/price-drafting.json
    out: str | None = None  # the file to be written instead


def validate_price(config: PriceRun) -> PriceRun:
    """Check every range; returns the same object. Raises: ConfigError: names the setting and what was expected."""
    check_values(config)
    check_pairs("pairs", config.pairs)
    if config.dtype is Dtype.auto:
        raise ConfigError("dtype=auto depends on a machine: expected float32, bfloat16 or float16.")
    if config.out is not None and not config.out.endswith(".json"):
        raise ConfigError(f"out={config.out} is no file name for this: expected one that ends with .json.")
    return config
