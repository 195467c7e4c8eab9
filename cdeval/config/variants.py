"""Settings of amateurs that are the expert itself with something taken from it."""

from dataclasses import dataclass, field, replace
from typing import Any

from cdeval.config.fields import KEY, Rules, When, number, shown
from cdeval.config.readers import only_methods_that_read
from cdeval.errors import ConfigError

_NAMED_BY = "kind"
_FOUND = When("amateur.heads", lambda heads: not heads, "give amateur.heads=null")
_DROPS = When("amateur.dropout", lambda share: share > 0, "add amateur.dropout=0.1")


def of_kinds(name: str, one: Any) -> Any:
    """Make a field that is read and written down where the kind of the amateur reads it."""
    when = only_methods_that_read(name, f"amateur.{_NAMED_BY}")
    rules: Rules = one.metadata.get(KEY, Rules())
    owned = replace(rules, when=(*rules.when, when), written=lambda group, _: when.holds(getattr(group, _NAMED_BY)))
    return field(default=one.default, metadata={KEY: owned})


@dataclass(kw_only=True)
class VariantConfig:
    """The settings of what each kind takes from the expert; each has a file in `cdeval.decode.amateurs`."""

    left_out: Any = of_kinds("left_out", field(default=None))  # numbers of blocks, the first one is 1
    # As block.head, both from 1; null: the best ones by their retrieval score.
    heads: list[str] | None = of_kinds("heads", field(default=None))
    # How many are silenced, the best ones first.
    retrieval_heads: int = of_kinds("retrieval_heads", number(10, least=1, most=100_000, when=(_FOUND,)))
    # Of each weight, after rounding; null leaves them as they are.
    bits: int | None = of_kinds("bits", number(4, least=2, most=16, hint="4 is usual"))
    # Share of the weights that are left out.
    dropout: float = of_kinds("dropout", number(0.0, least=0, most=0.9, hint="0.1 is usual"))
    # Of what is left out.
    noise_seed: int = of_kinds("noise_seed", number(0, least=0, most=2_000_000_000, when=(_DROPS,)))


def blocks_left_out(given: object) -> tuple[int, ...]:
    """Read numbers of blocks, ascending.

    Raises: ConfigError: there are none to read, or anything else than numbers from 1, each once.
    """
    expected = "numbers of blocks, the first one is 1, as amateur.left_out=[11,12,13], or [] for none"
    if given is None:
        raise ConfigError(f"amateur=pruned needs amateur.left_out: {expected}.")
    blocks: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    whole = all(isinstance(block, int) and not isinstance(block, bool) and block >= 1 for block in blocks)
    if not whole or len(set(blocks)) < len(blocks):
        raise ConfigError(f"amateur.left_out={shown(given)}: expected {expected}, each once.")
    return tuple(sorted(blocks))
