"""A metric of one's own: the mean length of a text's words."""

from cdeval import metric


@metric("word_length", label="word length", unit="letters", better="human", digits=2)
def word_length(text: str) -> float:
    """Letters a word; a text without words has no value."""
    words = text.split()
    return sum(map(len, words)) / len(words) if words else float("nan")
