"""One name for one setting everywhere: a stored setting under the words that a user types.

`results.csv`, trackers and their panels name what shaped an arm's texts as the command line does: `amateur.layer` (in
blocks, whatever was typed), `contrast.alpha`, `search.beams`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_CONTRAST = ("alpha", "beta", "temperature", "temperature_form", "normalizer", "form", "expert_top_k", "min_tokens")
_WORDS = {
    **{name: f"contrast.{name}" for name in _CONTRAST},
    "search": "search.kind",
    "sampling.seed": "seed",
    "plausibility.rule": "contrast.plausibility",
    "token_weight.weight": "contrast.weight",
    "token_weight.most": "contrast.weight_most",
    "token_weight.gate": "contrast.gate",
    "token_weight.entropy": "contrast.gate_entropy",
    "token_weight.call": "contrast.gate_call",
    "adaptive_exit.linear": "search.adaptive_exit.lens",
}
_GROUPS = {"sampling": "search", "plausibility": "contrast", "adaptive_exit": "search.adaptive_exit"}
_LINEAR = "adaptive_exit.linear"
_OWN = "settings"  # of a kind or a rule: pairs of a name and a value


def word_of(path: str) -> str:
    """Name a part of `Setting` as it is typed.

    >>> word_of("amateur.layer"), word_of("alpha"), word_of("sampling.top_k"), word_of("beams")
    ('amateur.layer', 'contrast.alpha', 'search.top_k', 'search.beams')
    """
    group, _, name = path.rpartition(".")
    return _WORDS.get(path) or f"{_GROUPS.get(group, group) or 'search'}.{name}"


def in_words(setting: Mapping[str, Any]) -> dict[str, Any]:
    """Write a setting, as `Point.facts` has it, with a word for each part; of an arm without a setting: nothing."""
    return dict(_parts("", setting))


def _parts(path: str, setting: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in setting.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            yield from _parts(here, value)
        elif here == _LINEAR:
            yield word_of(here), "linear" if value else "norm"
        elif name == _OWN:
            yield from ((word_of(f"{path}.{own}"), its) for own, its in value)
        else:
            yield word_of(here), value
