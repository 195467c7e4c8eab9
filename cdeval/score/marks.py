"""Special tokens that stand as text in foreign texts, as decoders that do not skip them write them.

An end of text twenty times over is no text: scored as one, it makes perplexity and repetition those of the mark. At the
ends of a text there is no doubt what it is, and it is taken away. Inside, nobody can say whether the text ends there, a
chat turn begins or a page quotes the token, so nothing is guessed: the text is refused. But `<s>` strikes words out in
HTML, and `[MASK]` is a word in brackets: those of the scoring model count inside, and others are read as text, counted.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from cdeval.errors import TextsError
from cdeval.records import Generation

_WORDS = ("<unk>",)  # WikiText has it as a word
# How the tokens are written that begin, end, part or fill texts in the vocabularies that are known.
_CLEAR = (
    r"<\|[A-Za-z0-9_-]+\|>",  # GPT-2, Qwen, SmolLM2, Llama 3, Phi, chat templates
    r"<｜[^｜<>]{1,40}｜>",  # DeepSeek
    r"<(?i:bos|eos|eot|eod)>",  # Gemma, Falcon
    r"<(?:start|end)_of_(?:turn|utterance)>",  # chats of Gemma and of SmolVLM
    r"\[(?:BOS|EOS|EOT|/?INST)\]",  # Llama 2's and Mistral's chats
)
# Those that are written in other texts, too: as HTML, or in brackets.
_KNOWN = (
    *_CLEAR,
    r"</?s>|<(?i:pad|mask|sep|cls)>",  # Llama 2, Mistral, OPT, T5
    r"\[(?:CLS|SEP|PAD|MASK)\]",  # BERT and its kin
)

_INSIDE = re.compile("|".join(_KNOWN))
_FRONT = re.compile(rf"^(?:\s*(?:{'|'.join(_KNOWN)}))+")


class Unmarked(NamedTuple):
    """Texts, stripped of special tokens at their ends."""

    texts: tuple[Generation, ...]
    changed: int  # continuations and references from which some were taken away
    kept: int  # continuations and references with marks inside that are read as text

    def notes(self) -> list[str]:
        """List what a reader must know of the texts."""
        found = [f"special tokens were removed from the ends of {self.changed} texts"] if self.changed else []
        if self.kept:
            found.append(
                f"{self.kept} texts hold inside what is a special token of some models, such as <s> or [MASK], and are "
                "read as they are"
            )
        return found


def without_marks(texts: Sequence[Generation], where: str, tokens: Collection[str] = ()) -> Unmarked:
    """The texts without special tokens at the ends of continuations and references.

    Args:
        texts: whose continuations are text as somebody else decoded it.
        where: they come from, for messages.
        tokens: more special tokens, of the model that scores.

    Raises: TextsError: one stands inside a text, and it is the scoring model's or can be nothing else; names the
        prompt's id and the token.
    """
    own = [re.escape(name) for name in sorted(tokens, key=len, reverse=True) if name.strip() and name not in _WORDS]
    mark, clear = (re.compile("|".join([*own, *names])) for names in (_KNOWN, _CLEAR))
    changed = unclear = 0
    found = []
    for text in texts:
        parts: dict[str, Any] = {}
        for name in ("continuation", "reference"):
            old: str | None = getattr(text, name)
            if old is None or mark.search(old) is None:
                continue
            kept = _without_ends(old, mark)
            if mark.search(kept):  # where one is inside that may be HTML, those at the ends may be so, too
                kept = _without_ends(old, clear)
                unclear += 1
            parts[name] = kept
            changed += kept != old
            if left := clear.search(kept):
                raise TextsError(
                    f"{where}: the {name} of prompt {text.id!r} holds the special token {left[0]} inside its text: "
                    "whether the text ends there cannot be told. Cut the text there or remove the token, and score "
                    "again (decoders skip such tokens, as skip_special_tokens=True does)."
                )
        found.append(replace(text, **parts) if parts else text)
    return Unmarked(tuple(found), changed, unclear)


def _without_ends(text: str, mark: re.Pattern[str]) -> str:
    """The text between the marks at its ends; the spaces outside and before the last ones go too.

    One pass over the marks: a pattern of spaces and marks that is tried at every place takes time that grows with the
    square of the spaces, and a text that degenerates may be all spaces.
    """
    spans = [found.span() for found in mark.finditer(text)]
    start, end = 0, len(text)
    for first, last in spans:
        if text[start:first].strip():
            break
        start = last
    for first, last in reversed(spans):
        if first < start or text[last:end].strip():
            break
        end = start + len(text[start:first].rstrip())
    return text[start:end]


def without_front(text: str) -> str:
    """The text without the special tokens that it begins with: a beginning of text, or padding.

    >>> without_front("<pad><s>Once <s>")
    'Once <s>'
    """
    return _FRONT.sub("", text)


def plain_prompt(prompt: str) -> tuple[str, bool]:
    """The prompt without special tokens in front; True where others are inside, as in chats: then it stays whole."""
    bare = without_front(prompt)
    return (prompt, True) if _INSIDE.search(bare) else (bare, False)
