"""`python -m cdeval.price`: what arms cost on paper."""
