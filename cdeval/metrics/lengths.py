"""Lengths: tokens of the scoring model, and words between whitespace; neither more nor less is better."""

from cdeval.metrics.forms import whole
from cdeval.metrics.register import metric
from cdeval.metrics.registry import Place
from cdeval.records import Generation


@metric(
    "tokens",
    needs=["tokens"],
    digits=2,
    ends=whole,
    bounds=(0, float("inf")),
    place=Place.diagnostic,
    order=40,
    below_texts=True,
    note="mean",
)
def tokens(generation: Generation) -> int:
    """Count the tokens of a text."""
    return len(generation.token_ids)


@metric(
    "words",
    digits=2,
    ends=whole,
    bounds=(0, float("inf")),
    place=Place.amount,
    order=41,
    note="mean, separated by whitespace",
)
def words(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())
