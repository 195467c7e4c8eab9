"""Small tokenizers of the kinds that models in the wild have, built in memory."""

import json
from collections.abc import Callable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "The river had been rising all night and the farmer had taken his cows up the lane .",
    "do n't you know , she said , that it was n't so ? yes , I do .",
    "playing played plays now, and nobody was playing there",
]
_MARKS = ["<unk>", "<s>", "</s>"]
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def with_holes() -> PreTrainedTokenizerFast:
    """Nine tokens among the ids 0 to 14: holes at 4 to 7 and 9, and a last token far above their number."""
    # Ids of a vocabulary's own; `add_tokens` would number a token by how many there are, holes or not.
    words = {"<end>": 0, "a": 1, "b": 2, "c": 3, "d": 8, "e": 10, "f": 11, "g": 12, "<h>": 14}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", bos_token="<end>")  # noqa: S106


def byte_level(template: str = "$A", *, prefix_space: bool = False) -> PreTrainedTokenizerFast:
    """As GPT-2; `<s> $A` begins texts as Llama 3 does, `prefix_space` as RoBERTa-like byte-level tokenizers do."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=_MARKS, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    return _finished(tokenizer, template)


def llama(template: str = "<s> $A", *, legacy: bool = False) -> PreTrainedTokenizerFast:
    """As Llama 2: BPE over ▁ with byte fallback, a space put before texts, and a decoder that strips it again."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=[*_MARKS, *_BYTES], show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][: len(_MARKS)]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    if legacy:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([])
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return _finished(tokenizer, template)


def gemma() -> PreTrainedTokenizerFast:
    """As Gemma: ▁ for spaces, none before texts."""
    tokenizer = llama("<s> $A")
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def unigram(template: str = "$A </s>") -> PreTrainedTokenizerFast:
    """As T5: a unigram model over ▁ that appends EOS, with the clean-up of spaces switched on."""
    # Given, not trained: the trainer finds other pieces in every process.
    words = sorted({f"▁{word}" for text in TEXTS for word in text.split()})[:60]
    letters = sorted({letter for text in TEXTS for letter in text if not letter.isspace()} | {"▁"})
    pieces = [*words, "▁,", "▁.", "▁n't"]
    vocabulary = [(mark, 0.0) for mark in _MARKS] + [(piece, -2.0) for piece in pieces]
    vocabulary += [(letter, -6.0) for letter in letters if letter not in pieces]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    tokenizer.normalizer = normalizers.Replace("\n", " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return _finished(tokenizer, template, clean_up_tokenization_spaces=True)


def word_piece(template: str = "<s> $A </s>") -> PreTrainedTokenizerFast:
    """As BERT: ## for what goes on within a word, marks on both sides, with the clean-up of spaces switched on."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(vocab_size=160, special_tokens=_MARKS, show_progress=False)
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    return _finished(tokenizer, template, clean_up_tokenization_spaces=True)


KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte level": byte_level,
    "byte level, BOS": lambda: byte_level("<s> $A"),
    "byte level, BOS and EOS": lambda: byte_level("<s> $A </s>"),
    "byte level, prefix space": lambda: byte_level(prefix_space=True),
    "llama": llama,
    "llama, legacy": lambda: llama(legacy=True),
    "llama, no BOS": lambda: llama("$A"),
    "gemma": gemma,
    "unigram": unigram,
    "word piece": word_piece,
}


def _finished(tokenizer: Tokenizer, template: str, **settings: bool) -> PreTrainedTokenizerFast:
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in _MARKS[1:]]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=marks)
    names = dict(zip(("unk_token", "bos_token", "eos_token"), _MARKS, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **settings)
