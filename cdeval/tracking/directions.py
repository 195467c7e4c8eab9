"""Which numbers are better high and which low; those of neither are described and not ranked."""

HIGHER_IS_BETTER = frozenset({"diversity", "mauve", "mauve_star", "coherence", "coherence_loglik"})
LOWER_IS_BETTER = frozenset(
    {"perplexity_expert", "frontier_integral", "flops_per_token", "flops_overhead", "decode_seconds_per_token"}
    | {"latency_overhead", "memory_bytes"}
)
