"""Pairs of models by name, `expert+amateur`, or an expert alone."""

from collections.abc import Sequence

from cdeval.errors import ConfigError


def check_pairs(setting: str, pairs: Sequence[str]) -> None:
    """Check the pairs of a setting. Raises: ConfigError: there are none, or one is no pair."""
    if not pairs:
        raise ConfigError(f"{setting}=[] names no model: give experts, such as {setting}=[gpt2-xl+gpt2,llama-2-7b-hf].")
    for pair in pairs:
        if not all(name.strip() for name in pair.split("+")) or pair.count("+") > 1:
            raise ConfigError(
                f"{setting}: {pair!r} is no pair: expected an expert, or an expert+amateur as gpt2-xl+gpt2."
            )


def names_of(pair: str) -> tuple[str, str | None]:
    """The expert's name, and the amateur's if there is one."""
    expert, _, amateur = pair.partition("+")
    return expert.strip(), amateur.strip() or None
