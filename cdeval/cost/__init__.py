"""The costs of decoding: FLOPs by formula, latency by the clock, memory by count."""
