"""Pairs of texts judged by models, and how far judges and metrics agree with people."""
