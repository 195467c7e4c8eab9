"""Which tokens end a text and which are never generated."""

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from cdeval.choices import Ban
from cdeval.errors import ModelError


def first_difference(tokenizer: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> int | None:
    """The lowest id that names another token in the other vocabulary, or none there; None where both are equal."""
    if len(tokenizer) == len(other) and tokenizer.get_vocab() == other.get_vocab():
        return None
    ids = range(max(len(tokenizer), len(other)))
    ours, theirs = ({token: name for name, token in one.get_vocab().items()} for one in (tokenizer, other))
    return next((token for token in ids if ours.get(token) != theirs.get(token)), len(ids))


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids that end a text: those of the model's generation settings and the tokenizer's own, sorted."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ids = set(named) if isinstance(named, list | tuple) else {named}
    ids.add(tokenizer.eos_token_id)
    return tuple(sorted(token for token in ids if token is not None and token < model.config.vocab_size))


def banned_tokens(ban: Ban, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids that are never generated under `search.ban`, sorted.

    `special` also bans the rows that pad the vocabulary to a round size (OPT has 7, Qwen some 200): no token has them.
    """
    if ban in (Ban.none, Ban.free):
        return ()
    banned = set(end_tokens(model, tokenizer))
    if ban is Ban.special:
        banned.update(tokenizer.all_special_ids)
        banned.update(token for token, added in tokenizer.added_tokens_decoder.items() if added.special)
        banned.update(range(len(tokenizer), model.config.vocab_size))
    return tuple(sorted(token for token in banned if token < model.config.vocab_size))


def check_same_size(expert: PretrainedConfig, amateur: PretrainedConfig, name: str, other: str) -> None:
    """Architectures without tokenizers can only be told by their vocabularies' sizes.

    Raises: ModelError: these differ.
    """
    if expert.vocab_size != amateur.vocab_size:
        raise ModelError(
            f"{other} cannot be the amateur of {name}: {amateur.vocab_size} and {expert.vocab_size} tokens. Choose an "
            "amateur of the expert's family."
        )
