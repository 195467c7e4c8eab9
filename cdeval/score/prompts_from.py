"""The prompts of texts that lie without them, from a file of their own: `fields.prompts_from`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cdeval.errors import TextsError
from cdeval.score.formats import Format
from cdeval.store.item_file import ItemFile, Located, kind_of

_SHAPE = 'expected a JSON list or JSONL, each item a text or an object with "prompt" (or "text"), one a prompt'
_NAMES = ("prompt", "text")
_GIVEN = "prompt of fields.prompts_from"


def read_prompts(path: Path) -> list[str]:
    """Read the prompts, in the order of the file. Raises: TextsError: an item is no prompt; says where."""
    found = []
    for located in ItemFile(path, "fields.prompts_from", _SHAPE, TextsError).located():
        value = located.value
        if isinstance(value, Mapping):
            value = next((value[name] for name in _NAMES if name in value), None)
        if not isinstance(value, str):
            raise TextsError(f"{path}, {located.where}: {kind_of(located.value)} without a prompt; {_SHAPE}.")
        found.append(value)
    return found


def with_prompts(
    items: Sequence[Located], form: Format, prompts: Sequence[str], path: Path
) -> tuple[list[Located], Format]:
    """The items with their prompts, and the format that finds them there.

    Args: items: of the file of texts. form: of these. prompts: one an item. path: of the texts, for messages.
    Raises: TextsError: the items have prompts of their own, or are more or fewer than the prompts.
    """
    if form.prompt is not None:
        raise TextsError(
            f"{path} has prompts of its own ({form.describe()}): leave fields.prompts_from= out, or name another file."
        )
    if len(items) != len(prompts):
        raise TextsError(
            f"{path} holds {len(items)} items, and fields.prompts_from {len(prompts)} prompts: expected one an item, "
            "in the same order."
        )
    named = [one._replace(value=_named(one.value, prompt)) for one, prompt in zip(items, prompts, strict=True)]
    return named, replace(form, prompt=_GIVEN)


def _named(value: object, prompt: str) -> object:
    if isinstance(value, list):
        return [_named(sample, prompt) for sample in value]
    return {**value, _GIVEN: prompt} if isinstance(value, Mapping) else value
