"""Small tokenizers of the kinds that models in the wild have, built in memory."""

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast


def with_holes() -> PreTrainedTokenizerFast:
    """Nine tokens among the ids 0 to 14: holes at 4 to 7 and 9, and a last token far above their number."""
    # Ids of a vocabulary's own; `add_tokens` would number a token by how many there are, holes or not.
    words = {"<end>": 0, "a": 1, "b": 2, "c": 3, "d": 8, "e": 10, "f": 11, "g": 12, "<h>": 14}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", bos_token="<end>")  # noqa: S106
