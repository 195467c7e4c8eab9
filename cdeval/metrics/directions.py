"""Which way each number is better: the one place that says so, for tables, pages, the front, verdicts and W&B.

Numbers of texts by likelihood are best near the human texts': loops are the likeliest of all, so no order of them makes
a text the best one. Numbers that are not named here are described, and neither ranked nor marked.
"""

from collections.abc import Mapping
from types import MappingProxyType

from cdeval.metrics.registry import plugged

_HIGHER = ("diversity", "mauve", "mauve_star", "coherence", "repetition_onset", *(f"distinct_{n}" for n in range(1, 5)))
_LOWER = ("frontier_integral", "longest_repeat", "self_bleu", *(f"rep_{n}" for n in range(2, 5)))
_COSTS = (
    *(f"{cost}_per_token" for cost in ("flops", "bytes", "decode_seconds")),
    *(f"{cost}_overhead" for cost in ("flops", "bytes", "latency", "memory")),
    "prefill_seconds",
    "memory_bytes",
)
_NEAR_HUMAN = ("perplexity_expert", "coherence_loglik")

# By the name in summary.json. 1: higher, -1: lower, 0: nearer to the human row's.
BETTER: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(_HIGHER, 1),
        **dict.fromkeys((*_LOWER, *_COSTS), -1),
        **dict.fromkeys(_NEAR_HUMAN, 0),
    }
)

_SIGNS: Mapping[int | None, str] = {1: "↑", -1: "↓", 0: "≈ human"}


def direction(name: str) -> int | None:
    """As in `BETTER`, also of a plug-in's metric; None: the number is described, and neither ranked nor marked."""
    metric = plugged().get(name)
    return metric.better if metric is not None else BETTER.get(name)


def sign(name: str) -> str:
    """What a heading says of it.

    >>> sign("diversity"), sign("coherence_loglik"), sign("words")
    ('↑', '≈ human', '')
    """
    return _SIGNS.get(direction(name), "")
