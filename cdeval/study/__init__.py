"""The study: from a configuration to texts, scores, costs and files."""
