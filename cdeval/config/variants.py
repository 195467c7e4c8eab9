"""Settings of amateurs that are the expert itself with something taken from it."""

from dataclasses import dataclass, field, replace
from typing import Any

from cdeval.config.fields import KEY, Rules, shown
from cdeval.config.methods import only_methods_that_read
from cdeval.errors import ConfigError

_NAMED_BY = "kind"


def of_kinds(name: str, one: Any) -> Any:
    """Make a field that is read and written down where the kind of the amateur reads it."""
    when = only_methods_that_read(name, f"amateur.{_NAMED_BY}")
    rules: Rules = one.metadata.get(KEY, Rules())
    owned = replace(rules, when=(*rules.when, when), written=lambda group, _: when.holds(getattr(group, _NAMED_BY)))
    return field(default=one.default, metadata={KEY: owned})


@dataclass(kw_only=True)
class VariantConfig:
    """What each kind takes from the expert; `cdeval.decode.amateurs` has a file with the definition of each."""

    left_out: Any = of_kinds("left_out", field(default=None))  # numbers of blocks, the first one is 1


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
