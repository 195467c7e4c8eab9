"""The formats of generations files by their fields: an item becomes prompt, continuations and reference.

    cdeval       prompt, continuation, reference                  our generations.jsonl
    Su & Xu      prefix_text, generated_result, reference_text    {"0": text, "1": …}: several samples of one prompt
    CD authors   prompt, gen_text, gold_ref                       Li et al. 2022; a line may be a list of samples

In the CD authors' files gen_text and gold_ref begin with the prompt. Both papers' code cuts it off; so does this,
exactly where a text begins with its prompt, to the letter, and it counts the texts that do not (Li et al.'s own metrics
drop those silently). `<|endoftext|>` before a prompt of theirs is a token, not text, and is removed after the cut.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from cdeval.errors import TextsError
from cdeval.score.config import FieldsConfig
from cdeval.score.foreign.form import at, get
from cdeval.score.marks import without_front
from cdeval.store.item_file import Located, kind_of

SHAPE = (
    "expected a JSON list or one JSON object a line, with the fields of cdeval (prompt, continuation), of Su & Xu "
    "(prefix_text, generated_result) or of the CD authors (prompt, gen_text), or with names given by fields.prompt=, "
    "fields.continuation= and fields.reference=; or a file of lm_eval, inspect_ai, lighteval, vLLM, transformers' "
    "pipeline or Every Eval Ever"
)
_MARKS = ("<|endoftext|>", "</s>")  # how the CD authors' tokenizers (GPT-2, OPT) write a beginning of text


@dataclass(frozen=True, slots=True)
class Format:
    """Field names, and whether texts repeat their prompt."""

    name: str
    prompt: str | None  # None: there are no prompts
    continuation: str
    reference: str | None
    id: str
    prompt_in_text: bool

    def describe(self) -> str:
        """Describe it for a note: `CD authors (prompt, gen_text, gold_ref)`."""
        return f"{self.name} ({', '.join(filter(None, (self.prompt, self.continuation, self.reference)))})"


FORMATS = (
    Format("cdeval", "prompt", "continuation", "reference", "id", prompt_in_text=False),
    Format("Su & Xu", "prefix_text", "generated_result", "reference_text", "id", prompt_in_text=False),
    Format("CD authors", "prompt", "gen_text", "gold_ref", "id", prompt_in_text=True),
)


class Item(NamedTuple):
    """One prompt and what was written after it."""

    where: str
    id: str | None  # as in the file
    prompt: str
    reference: str | None
    continuations: tuple[str, ...]  # samples, at least one


class CutItem(NamedTuple):
    """An item without its prompt in front, and how often it stood there."""

    item: Item
    cut: int  # continuations that began with the prompt
    uncut: int  # those that did not
    marks: int  # 1 where a mark was removed from the prompt


def fitting(fields: Mapping[str, object]) -> list[Format]:
    """List the formats whose prompt and continuation an item has."""
    return [form for form in FORMATS if form.continuation in fields and form.prompt in fields]


def recognise(fields: Mapping[str, object], given: FieldsConfig, where: str) -> Format:
    """The format of an item by its keys; names that are given take the place of the recognised ones.

    Raises: TextsError: no format has these keys, and no name is given for the continuation.
    """
    known = fitting(fields)
    if given.continuation is None and not known:
        inside = [name for name, value in fields.items() if isinstance(value, list) and _holds_object(value)]
        if inside:
            raise TextsError(
                f"{where}: one object, whose {inside[0]!r} is a list of objects: give that list alone, for example by "
                f"jq '.{inside[0]}'; {SHAPE}."
            )
        raise TextsError(
            f"{where}: unknown fields ({', '.join(map(str, fields)) or 'none'}): {SHAPE}. "
            "For example: fields.prompt=question fields.continuation=answer"
        )
    if given.continuation is not None:
        base = Format("named fields", given.prompt, given.continuation, given.reference, "id", prompt_in_text=False)
    else:
        base = known[0]
        base = replace(base, prompt=given.prompt or base.prompt, reference=given.reference or base.reference)
    in_text = base.prompt_in_text if given.prompt_in_text is None else given.prompt_in_text
    return replace(base, id=given.id or base.id, prompt_in_text=in_text)


def _holds_object(values: Sequence[object]) -> bool:
    return any(isinstance(one, Mapping) for one in values)


def item_of(located: Located, form: Format, path: object) -> Item:
    """An item by the format's names. Raises: TextsError: a field is missing or is no text; says where."""
    where = f"{path}, {located.where}"
    samples = located.value if isinstance(located.value, list) and located.value else [located.value]
    items = [_sample(fields, form, where) for fields in samples]
    if len({(item.prompt, item.id) for item in items}) > 1:
        raise TextsError(f"{where}: a list of samples with different prompts; expected samples of one prompt.")
    # Without prompts each item is a unit of its own: equal empty prompts must not make them samples of one.
    identifier = f"item-{located.number:05}" if form.prompt is None and items[0].id is None else items[0].id
    return items[0]._replace(id=identifier, continuations=tuple(text for item in items for text in item.continuations))


def without_prompt(item: Item) -> CutItem:
    """The item with its prompt cut off the front of the texts that begin with it."""
    starts = [_begins(item.prompt, text) for text in item.continuations]
    continuations = tuple(_after(item.prompt, text) for text in item.continuations)
    reference = None if item.reference is None else _after(item.prompt, item.reference)
    prompt = item.prompt
    for mark in _MARKS:
        prompt = prompt.removeprefix(mark)
    cut = item._replace(prompt=prompt, reference=reference, continuations=continuations)
    return CutItem(cut, sum(starts), len(starts) - sum(starts), int(prompt != item.prompt))


def _begins(prompt: str, text: str) -> bool:
    """Whether the text begins with its prompt, written with or without a beginning of text in front of either."""
    return text.startswith(prompt) or _bare(text).startswith(_bare(prompt))


def _after(prompt: str, text: str) -> str:
    if text.startswith(prompt) or not _begins(prompt, text):
        return text.removeprefix(prompt)
    return _bare(text).removeprefix(_bare(prompt))


def _bare(text: str) -> str:
    """Strip special tokens in front, and the spaces that decoders write after them."""
    bare = without_front(text)
    return text if bare == text else bare.lstrip()


def _sample(fields: object, form: Format, where: str) -> Item:
    if not isinstance(fields, Mapping):
        raise TextsError(f"{where}: {kind_of(fields)} instead of an object; {SHAPE}.")
    prompt = "" if form.prompt is None else _text(_present(fields, form.prompt, where), form.prompt, where)
    return Item(
        where=where,
        id=_identifier(get(fields, form.id), where),
        prompt=prompt,
        reference=_optional(get(fields, form.reference), form.reference, where) if form.reference else None,
        continuations=_continuations(_present(fields, form.continuation, where), form.continuation, where),
    )


def _present(fields: Mapping[str, object], name: str, where: str) -> object:
    try:
        return at(fields, name)
    except LookupError as error:
        found = ", ".join(map(str, fields)) or "none"
        raise TextsError(f"{where}: {name!r} is missing (fields found: {found}).") from error


def _continuations(value: object, name: str, where: str) -> tuple[str, ...]:
    """Read one text, or several samples as a list or as {"0": …, "1": …}."""
    samples: Sequence[object] = [value]
    if isinstance(value, list | Mapping):
        samples = list(value.values()) if isinstance(value, Mapping) else value
        if not samples:
            raise TextsError(f"{where}: {name!r} holds no text; expected at least one.")
    return tuple(_text(sample, name, where) for sample in samples)


def _text(value: object, name: str, where: str) -> str:
    if isinstance(value, str):
        return value
    empty = value is None or value != value  # noqa: PLR0124 - NaN, as pandas writes a missing text
    remedy = 'write "" for an empty text, or delete the item' if empty else "expected a string"
    raise TextsError(f"{where}: {name!r} is {kind_of(value)}; {remedy}.")


def _optional(value: object, name: str, where: str) -> str | None:
    missing = value is None or value != value  # noqa: PLR0124 - NaN
    return None if missing else _text(value, name, where)


def _identifier(value: object, where: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TextsError(f"{where}: the id is {kind_of(value)}; expected a string or a whole number.")
    return str(value)
