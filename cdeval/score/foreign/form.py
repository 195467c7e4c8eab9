"""The form that every foreign format brings its items into, and how values are found inside of others."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cdeval.errors import TextsError


@dataclass(frozen=True, slots=True)
class Record:
    """One prompt of a foreign file and the texts that continue it; what the file does not have is None."""

    texts: Sequence[object]  # samples of the prompt, checked to be text later
    prompt: object = None
    reference: object = None
    id: object = None
    # Records of one such name are the same texts, written again for another filter or metric: the first one counts.
    same: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)  # in which names that a user gives are looked up


class Foreign(NamedTuple):
    """A format of other programs."""

    name: str  # as notes call it
    fits: Callable[[Mapping[str, Any]], bool]  # by the keys of the file's first item
    records: Callable[[Mapping[str, Any], str], list[Record]]  # an item, and where it stands. Raises: TextsError
    prompts: bool = True  # whether it has prompts of its own
    in_front: bool = False  # whether texts may begin with their prompt
    # Whether an id is one prompt in every file. Most count the documents of a task, each program in its own way: their
    # prompts are told apart by their texts, and by ids only where there are none.
    lasting_ids: bool = False


def at(value: object, path: str) -> object:
    """Find a value by its name, or inside of others by names and places that dots part.

    A name that is there as it is written comes first, dots included.

    Raises: LookupError: there is nothing.

    >>> at({"doc": {"answers": ["a", "b"]}}, "doc.answers.1")
    'b'
    """
    if isinstance(value, Mapping):
        if path in value:
            return value[path]
        for end in (place for place, sign in enumerate(path) if sign == "."):
            if path[:end] in value:
                return at(value[path[:end]], path[end + 1 :])
    elif isinstance(value, Sequence) and not isinstance(value, str):
        first, _, rest = path.partition(".")
        if first.isdecimal() and int(first) < len(value):
            return at(value[int(first)], rest) if rest else value[int(first)]
    raise LookupError(path)


def get(value: object, path: str) -> object:
    """Find a value as `at` does; None where there is nothing."""
    try:
        return at(value, path)
    except LookupError:
        return None


def first_text(value: object) -> object:
    """Choose the first of several texts, as of right answers; anything else as it is, None for an empty list."""
    return (value[0] if value else None) if isinstance(value, list) else value


def as_text(value: object) -> object:
    """Write a number or a truth value as text, as a right answer may be one; anything else as it is."""
    return json.dumps(value) if isinstance(value, bool | int | float) and value == value else value  # noqa: PLR0124


def message_text(content: object) -> object:
    """Put the text of a chat message together: a string, or a list of parts of which some are text."""
    if not isinstance(content, list):
        return content
    parts = [part if isinstance(part, str) else get(part, "text") for part in content]
    return "".join(part for part in parts if isinstance(part, str))


def chat_text(messages: Sequence[object], where: str) -> str:
    """Put the messages of a chat together as one text, with an empty line between two of them.

    Raises: TextsError: one is no message.
    """
    texts = [message_text(get(message, "content")) for message in messages]
    for text in texts:
        if not isinstance(text, str):
            raise TextsError(f"{where}: a message of the chat has no content that is text.")
    return "\n\n".join(text for text in texts if isinstance(text, str))
