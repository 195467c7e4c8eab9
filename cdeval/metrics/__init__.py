"""Scores of continuations: one file a metric, `stats` for the intervals, `suite` for all of them over all arms."""
