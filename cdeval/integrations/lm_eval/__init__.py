"""lm-evaluation-harness: contrastive decoding as one of its models, `cdeval`."""
