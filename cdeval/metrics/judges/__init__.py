"""The models that read texts for metrics: the only rooms of metrics that need torch."""
