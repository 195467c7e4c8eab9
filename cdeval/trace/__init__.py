"""`python -m cdeval.trace`: one generation, token by token."""
