"""Pairs of texts for people to judge, and what their votes say."""
