"""cdeval inside other people's programs."""
