"""Prompts of the user's own: a JSON list or JSONL file, read strictly, so that no mistake in it goes unnoticed."""

import stat
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from cdeval.config.fields import value_of
from cdeval.errors import PromptError
from cdeval.store.item_file import ItemFile, Located, kind_of

_SHAPE = 'expected a JSON list or one JSON object a line, each with "prompt" (and "reference"), or with "text"'
_QUICK = 16 << 20  # bytes
_FILES = ("prompts.path", "amateur.lens_texts", "search.adaptive_exit.lens_texts")


class Text(NamedTuple):
    """A text to be cut into prompt and reference."""

    id: str  # stable across runs and machines
    text: str


class GivenPrompt(NamedTuple):
    """A prompt to be used whole, and how it went on, if that is known."""

    id: str
    prompt: str
    reference: str | None  # with its leading space, if it has one
    context: str | None = None  # what comes before the prompt, up to its first letter

    @property
    def whole(self) -> str:
        """The text that the expert reads: the context, if there is one, and the prompt."""
        return (self.context or "") + self.prompt


def read_items(path: Path) -> list[Text | GivenPrompt]:
    """The items of a file, in its order: a GivenPrompt where there is a `prompt`, a Text where there is only `text`.

    An item without `id` is called file-<its line or position>. A `context` belongs to a `prompt`; further fields are
    ignored.

    Raises: PromptError: not a readable UTF-8 file, not JSON, or an item without a usable prompt; says where.
    """
    items: list[Text | GivenPrompt] = []
    seen: dict[str, str] = {}
    for located in ItemFile(path, "prompts.path", _SHAPE, PromptError).located():
        item = _item(path, located)
        if item.id in seen:
            raise PromptError(f"{path}: {located.where} has the id {item.id!r} of {seen[item.id]}: ids must differ.")
        seen[item.id] = located.where
        items.append(item)
    if not items:
        raise PromptError(f"{path} holds no items: {_SHAPE}.")
    return items


def check_prompts(config: object, read: Collection[str]) -> None:
    """Look for mistakes in the files of texts that a command names, before torch is loaded.

    A file that takes long is left to whoever opens it, and so is a pipe, which can be read but once.

    Args: config: of any command. read: names of the settings that it reads.
    Raises: PromptError: as `read_items`.
    """
    for setting in _FILES:
        given = value_of(config, setting)
        if setting in read and given is not None and _is_quick(path := Path(given).expanduser()):
            read_items(path)


def _is_quick(path: Path) -> bool:
    """Whether a file can be read twice at the cost of a moment; one that is not there is looked for in no time."""
    try:
        found = path.stat()
    except OSError:
        return True
    return found.st_size <= _QUICK and not (stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode))


def _item(path: Path, located: Located) -> Text | GivenPrompt:
    where = f"{path}, {located.where}"
    fields = located.value
    if not isinstance(fields, dict):
        raise PromptError(f"{where}: {kind_of(fields)} instead of an object; {_SHAPE}.")
    identifier = _identifier(fields.get("id"), where) or f"file-{located.number:04}"
    prompt = _string(fields, "prompt", where)
    reference = _string(fields, "reference", where)
    text = _string(fields, "text", where)
    if prompt is not None:
        if not prompt:
            raise PromptError(f"{where}: the prompt is empty; give it at least one token, or delete the item.")
        return GivenPrompt(identifier, prompt, reference, _string(fields, "context", where) or None)
    if text is None:
        found = ", ".join(map(str, fields)) or "none"
        misspelt = [(name, close[0]) for name in fields if (close := get_close_matches(name, ["prompt", "text"], n=1))]
        hint = " ".join(f"Did you mean {right!r} by {wrong!r}?" for wrong, right in misspelt)
        raise PromptError(f"{where}: neither 'prompt' nor 'text' (fields found: {found}). {hint}".strip())
    return Text(identifier, text)


def _identifier(value: object, where: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise PromptError(f"{where}: the id is {kind_of(value)}; expected a non-empty string or a whole number.")
    return _encodable(str(value), "id", where)


def _string(fields: dict[str, object], name: str, where: str) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return _encodable(value, name, where) if value else value
    raise PromptError(f"{where}: {name!r} is {kind_of(value)}; expected a string.")


def _encodable(value: str, name: str, where: str) -> str:
    """JSON may spell half of a surrogate pair, which no tokenizer and no file takes."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"{where}: {name!r} holds half a character (\\u{ord(value[error.start]):04x}); delete it."
        ) from error
    return value
