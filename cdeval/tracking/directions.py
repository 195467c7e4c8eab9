"""Which numbers are better high and which low; those of neither are described and not ranked.

Perplexity is of neither: what is near the human texts' is good, and loops have the least.
"""

HIGHER_IS_BETTER = frozenset({"diversity", "mauve", "mauve_star", "coherence", "coherence_loglik"})
LOWER_IS_BETTER = frozenset(
    {"frontier_integral", "flops_per_token", "flops_overhead", "decode_seconds_per_token"}
    | {"latency_overhead", "memory_bytes"}
)
