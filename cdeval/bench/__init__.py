"""The bench: the engine and its peers on the same weights and prompts, in one process, timed in turn."""
