"""The schema of `conf/price.yaml`: which architectures are priced on paper, and for which texts."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from cdeval.choices import Dtype
from cdeval.errors import ConfigError


@dataclass
class PriceRun:
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
    prompt_tokens: int = 32
    new_tokens: int = 256
    beams: int = 5
    truncated: float = 0.25  # blocks of the truncated expert, as a share of all
    device: str = "A100 80GB"  # whose the next two numbers are, for the table's note
    bandwidth: float = 2.0e12  # of its memory [bytes/s]
    peak_flops: float = 312e12  # of its matrix products in this number format [FLOP/s]
    runs: str = "runs"  # results go to <runs>/price.json
    out: str | None = None  # the file to be written instead


_RULES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("prompt_tokens", lambda v: v >= 1, "at least 1"),
    ("new_tokens", lambda v: v >= 1, "at least 1"),
    ("beams", lambda v: v >= 1, "at least 1"),
    ("truncated", lambda v: 0 < v < 1, "a share of the blocks in (0, 1)"),
    ("bandwidth", lambda v: math.isfinite(v) and v > 0, "a number > 0"),
    ("peak_flops", lambda v: math.isfinite(v) and v > 0, "a number > 0"),
)


def validate_price(config: PriceRun) -> PriceRun:
    """Check every range; returns the same object. Raises: ConfigError: names the setting and what was expected."""
    if not config.pairs:
        raise ConfigError("pairs=[] prices nothing: give experts, such as pairs=[gpt2-xl+gpt2,llama-2-7b-hf].")
    for pair in config.pairs:
        if not all(name.strip() for name in pair.split("+")) or pair.count("+") > 1:
            raise ConfigError(f"pairs: {pair!r} is no pair: expected an expert, or an expert+amateur as gpt2-xl+gpt2.")
    if config.dtype is Dtype.auto:
        raise ConfigError("dtype=auto depends on a machine: expected float32, bfloat16 or float16.")
    for name, holds, expected in _RULES:
        value = getattr(config, name)
        if not holds(value):
            raise ConfigError(f"{name}={value} is out of range: expected {expected}.")
    if config.out is not None and not config.out.endswith(".json"):
        raise ConfigError(f"out={config.out} is no file name for this: expected one that ends with .json.")
    return config
