"""Prompts of the user's own: a JSON list or JSONL file, read strictly, so that no mistake in it goes unnoticed."""

import json
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from cdeval.errors import PromptError
from cdeval.prompts.texts import Text

_SHAPE = 'expected a JSON list or one JSON object a line, each with "prompt" (and "reference"), or with "text"'


class Pair(NamedTuple):
    """A prompt to be used whole, and how it went on, if that is known."""

    id: str
    prompt: str
    reference: str | None  # with its leading space, if it has one


class _Located(NamedTuple):
    where: str  # "line 3" or "item 3"
    number: int
    value: object


def read_items(path: Path) -> list[Text | Pair]:
    """The items of a file, in its order: a Pair where there is a `prompt`, a Text where there is only `text`.

    An item without `id` is called file-<its line or position>. Further fields are ignored.

    Raises: PromptError: not a readable UTF-8 file, not JSON, or an item without a usable prompt; says where.
    """
    items: list[Text | Pair] = []
    seen: dict[str, str] = {}
    for located in _parse(path, _read(path)):
        item = _item(path, located)
        if item.id in seen:
            raise PromptError(f"{path}: {located.where} has the id {item.id!r} of {seen[item.id]}: ids must differ.")
        seen[item.id] = located.where
        items.append(item)
    if not items:
        raise PromptError(f"{path} holds no items: {_SHAPE}.")
    return items


def _read(path: Path) -> str:
    if not path.exists():
        raise PromptError(f"prompts.path={path} does not exist: {_SHAPE}.")
    if path.is_dir():
        raise PromptError(f"prompts.path={path} is a folder: give a file in it; {_SHAPE}.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PromptError(f"prompts.path={path} cannot be read: {error.strerror}.") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise PromptError(
            f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {error.start} (line {line}). "
            "Save it as UTF-8, for example with: iconv -f <its encoding> -t utf-8"
        ) from error
    if not text.strip():
        raise PromptError(f"{path} is empty: {_SHAPE}.")
    return text


def _parse(path: Path, text: str) -> Iterator[_Located]:
    if text.lstrip().startswith("["):
        for number, value in enumerate(_json(path, text, first_line=1), 1):  # type: ignore[arg-type, var-annotated]
            yield _Located(f"item {number}", number, value)
        return
    # Not splitlines(): JSON strings may hold U+2028 and its like as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _Located(f"line {number}", number, _json(path, line, first_line=number))


def _json(path: Path, text: str, first_line: int) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise PromptError(f"{path}, line {line}: not JSON ({error.msg} at column {error.colno}); {_SHAPE}.") from error
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, brackets a thousand deep
        raise PromptError(f"{path}, line {first_line}: unusable JSON ({error}); {_SHAPE}.") from error


def _item(path: Path, located: _Located) -> Text | Pair:
    where = f"{path}, {located.where}"
    fields = located.value
    if not isinstance(fields, dict):
        raise PromptError(f"{where}: {_kind(fields)} instead of an object; {_SHAPE}.")
    identifier = _identifier(fields.get("id"), where) or f"file-{located.number:04}"
    prompt = _string(fields, "prompt", where)
    reference = _string(fields, "reference", where)
    text = _string(fields, "text", where)
    if prompt is not None:
        if not prompt:
            raise PromptError(f"{where}: the prompt is empty; give it at least one token, or delete the item.")
        return Pair(identifier, prompt, reference)
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
        raise PromptError(f"{where}: the id is {_kind(value)}; expected a non-empty string or a whole number.")
    return _encodable(str(value), "id", where)


def _string(fields: dict[str, object], name: str, where: str) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return _encodable(value, name, where) if value else value
    raise PromptError(f"{where}: {name!r} is {_kind(value)}; expected a string.")


def _encodable(value: str, name: str, where: str) -> str:
    """JSON may spell half of a surrogate pair, which no tokenizer and no file takes."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"{where}: {name!r} holds half a character (\\u{ord(value[error.start]):04x}); delete it."
        ) from error
    return value


def _kind(value: object) -> str:
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    name = names.get(type(value), "null")
    return f"{name} ({value!r})"[:80] if isinstance(value, int | float | str) else name
