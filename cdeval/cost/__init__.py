"""What decoding costs: FLOPs by formula, latency by the clock, memory by count."""
