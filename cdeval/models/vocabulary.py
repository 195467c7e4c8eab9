"""The ids that are tokens, those that end a text, and those that are never generated.

An id is a token where the tokenizer's vocabulary says so. `len(tokenizer)` counts tokens and bounds no id: a vocabulary
may have holes, where tokens were removed or added ones got ids of their own choice.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from cdeval.config.enums import Ban
from cdeval.errors import ModelError
from cdeval.records import Prompt

# Reading a vocabulary of 50 k tokens takes a tenth of a second, and every batch asks; the count tells added tokens.
_NAMES: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[int, Mapping[int, str]]] = WeakKeyDictionary()


class Vocabulary(NamedTuple):
    """The tokens that one model reads and writes."""

    name: str  # the model's
    tokenizer: PreTrainedTokenizerBase
    rows: int  # of the model's embedding and head: ids below it have logits


def vocabulary_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> Vocabulary:
    """A model's tokens, and the rows that both its embedding and its head have."""
    tables = (model.get_output_embeddings(), model.get_input_embeddings())
    rows = [table.weight.shape[0] for table in tables if getattr(table, "weight", None) is not None]
    return Vocabulary(name, tokenizer, min(rows, default=model.config.vocab_size))


def token_names(tokenizer: PreTrainedTokenizerBase) -> Mapping[int, str]:
    """Every id that is a token, and the token's name in the vocabulary."""
    count = len(tokenizer)
    known = _NAMES.get(tokenizer)
    if known is None or known[0] != count:
        # Sorted, so that of two names of one id (an added token may take a used one) it is always the same.
        known = count, {token: name for name, token in sorted(tokenizer.get_vocab().items())}
        _NAMES[tokenizer] = known
    return known[1]


def first_difference(tokenizer: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> int | None:
    """The lowest id that names another token in the other vocabulary, or none there; None where both are equal."""
    ours, theirs = token_names(tokenizer), token_names(other)
    return min((token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)), default=None)


def check_same_vocabulary(expert: Vocabulary, amateur: Vocabulary) -> None:
    """Contrast subtracts the log-probability of the same token: both models must mean the same by a token id.

    Raises: ModelError: an id is another token to the amateur, or the amateur's head has no row for an ordinary token.
    """
    token = first_difference(expert.tokenizer, amateur.tokenizer)
    if token is not None:
        ours, theirs = (_named(model.tokenizer, token) for model in (expert, amateur))
        raise ModelError(
            f"{amateur.name} cannot be the amateur of {expert.name}: their vocabularies differ "
            f"({len(amateur.tokenizer)} and {len(expert.tokenizer)} tokens; the first that differs is {token}, "
            f"{theirs} and {ours}). Choose an amateur of the expert's family, amateur=early_exit or amateur=truncated."
        )
    ordinary = token_names(expert.tokenizer).keys() - special_tokens(expert.tokenizer)
    lacking = sorted(token for token in ordinary if amateur.rows <= token < expert.rows)
    if lacking:
        raise ModelError(
            f"{amateur.name} cannot be the amateur of {expert.name}: its head has {amateur.rows} rows and none for "
            f"{len(lacking)} tokens of their vocabulary, first {lacking[0]} ({_named(expert.tokenizer, lacking[0])}), "
            f"of which {expert.name} has {expert.rows} rows. Choose an amateur of the expert's family, "
            "amateur=early_exit or amateur=truncated."
        )


def check_rows(model: Vocabulary) -> None:
    """A tokenizer must not write tokens that its model cannot read.

    Special tokens beyond the model's rows are let be, as published models have them (Gemma 3's of images): nothing
    generates them, and `check_prompts` finds those that a prompt holds.

    Raises: ModelError: ordinary tokens have no row.
    """
    beyond = sorted(token for token in token_names(model.tokenizer) if token >= model.rows)
    lacking = sorted(set(beyond) - special_tokens(model.tokenizer))
    if lacking:
        raise ModelError(
            f"The tokenizer of {model.name} is larger than the model's vocabulary: {len(lacking)} of its tokens, first "
            f"{lacking[0]} ({_named(model.tokenizer, lacking[0])}), lie beyond the model's {model.rows} rows. Give the "
            "tokenizer that the model was trained with, or add rows by model.resize_token_embeddings(len(tokenizer))."
        )


def check_prompts(model: Vocabulary, prompts: Iterable[Prompt]) -> None:
    """Check that a model can read prompts. Raises: ModelError: a prompt holds a token that the model has no row for."""
    for prompt in prompts:
        token = next((token for token in prompt.token_ids if not 0 <= token < model.rows), None)
        if token is not None:
            raise ModelError(
                f"Prompt {prompt.id!r} holds token {token} ({_named(model.tokenizer, token)}), and {model.name} has "
                f"rows for the tokens 0 to {model.rows - 1} alone: leave that token out of the prompt, or give the "
                "tokens of this model's own tokenizer."
            )


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids of the tokenizer's special tokens, those without a role of their own included."""
    added = {token for token, content in tokenizer.added_tokens_decoder.items() if content.special}
    return added | set(tokenizer.all_special_ids)


def special_names(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """List the tokenizer's special tokens as they are written."""
    names = token_names(tokenizer)
    return {names[token] for token in special_tokens(tokenizer) if token in names}


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids that end a text: those of the model's generation settings and the tokenizer's own, sorted."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ids = set(named) if isinstance(named, list | tuple) else {named}
    ids.add(tokenizer.eos_token_id)
    return tuple(sorted(token for token in ids if token is not None and token < _rows(model)))


def banned_tokens(
    ban: Ban, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ends: Iterable[int] | None = None
) -> tuple[int, ...]:
    """Ids that are never generated under `search.ban`, sorted; `ends`: that end a text, None: those of `end_tokens`.

    `special` also bans every row that belongs to no token: those that pad the vocabulary to a round size (OPT has 7,
    Qwen some 200), and holes in it.
    """
    if ban in (Ban.none, Ban.free):
        return ()
    banned = set(end_tokens(model, tokenizer) if ends is None else ends)
    if ban is Ban.special:
        banned |= special_tokens(tokenizer) | (set(range(_rows(model))) - token_names(tokenizer).keys())
    return tuple(sorted(token for token in banned if token < _rows(model)))


def check_same_size(expert: PretrainedConfig, amateur: PretrainedConfig, name: str, other: str) -> None:
    """Architectures without tokenizers can only be told by their vocabularies' sizes.

    Raises: ModelError: these differ.
    """
    if expert.vocab_size != amateur.vocab_size:
        raise ModelError(
            f"{other} cannot be the amateur of {name}: {amateur.vocab_size} and {expert.vocab_size} tokens. Choose an "
            "amateur of the expert's family."
        )


def _rows(model: PreTrainedModel) -> int:
    """Logits that the model's head gives, whatever its configuration calls the size of its vocabulary."""
    return int(model.get_output_embeddings().weight.shape[0])


def _named(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    name = token_names(tokenizer).get(token)
    return "no token" if name is None else repr(name)
