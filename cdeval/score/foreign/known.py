"""The foreign formats that are known, and a file of one of them as items that are read like any others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from cdeval.errors import TextsError
from cdeval.score.config import FieldsConfig
from cdeval.score.foreign import completions, every_eval_ever, inspect_log, lighteval, lm_eval, pipeline, vllm
from cdeval.score.foreign.form import Foreign, Record, at
from cdeval.score.formats import Format
from cdeval.store.item_file import Located, kind_of

FOREIGN = (
    lm_eval.FORMAT,
    inspect_log.LOG,
    inspect_log.SAMPLE,
    lighteval.FORMAT,
    lighteval.OLDER,
    vllm.FORMAT,
    completions.FORMAT,
    pipeline.FORMAT,
    every_eval_ever.FORMAT,
)


class Expanded(NamedTuple):
    """A foreign file's items by cdeval's own names."""

    items: list[Located]
    form: Format
    notes: list[str]


class _Read(NamedTuple):
    where: str
    record: Record


def foreign_of(item: Mapping[str, Any]) -> Foreign | None:
    """Find the format that a file's first item has; None where no foreign one fits."""
    return next((form for form in FOREIGN if form.fits(item)), None)


def expanded(
    located: Sequence[Located], foreign: Foreign, given: FieldsConfig, prompts: Sequence[str] | None, path: Path
) -> Expanded:
    """Bring the items of a foreign file under cdeval's own names.

    Args:
        located: the file's values.
        foreign: their format.
        given: names of fields, which are looked up in each item in the place of the format's own.
        prompts: of `fields.prompts_from`, one an item; None where it is not given.
        path: of the file, for messages.

    Raises: TextsError: an item is of another format, or holds no text; says where.
    """
    read = list(_records(located, foreign, path))
    first: dict[str, _Read] = {}
    for place, one in enumerate(read):
        first.setdefault(one.record.same or f" {place}", one)  # no record is called so
    kept = [_named(one, given) for one in first.values()]
    notes = []
    if len(kept) < len(read):
        notes.append(f"{len(read) - len(kept)} records repeat texts for other filters or metrics and were left out")
    if prompts is not None and len(kept) == 1 < len(prompts):
        kept = _split(kept[0], len(prompts))
    has_prompts = any(one.record.prompt is not None for one in kept)
    if not has_prompts and prompts is None:
        notes.append(_without_prompts(foreign))
    by_id = given.id is not None or foreign.lasting_ids or (not has_prompts and prompts is None)
    items = [Located(one.where, number, _fields(one.record, by_id=by_id)) for number, one in enumerate(kept, 1)]
    prompt = "prompt" if has_prompts else None
    form = Format(foreign.name, prompt, "continuation", "reference", "id", prompt_in_text=foreign.in_front)
    return Expanded(items, form, notes)


def _records(located: Sequence[Located], foreign: Foreign, path: Path) -> Iterator[_Read]:
    for one in located:
        samples = one.value if isinstance(one.value, list) and one.value else [one.value]
        found = []
        for sample in samples:
            where = f"{path}, {one.where}"
            if not isinstance(sample, Mapping) or not foreign.fits(sample):
                what = ", ".join(map(str, sample)) if isinstance(sample, Mapping) else kind_of(sample)
                raise TextsError(f"{where}: no item of {foreign.name}, as the file's first is ({what or 'empty'}).")
            found += foreign.records(sample, where)
        if isinstance(one.value, list) and found:  # samples of one prompt
            found = [replace(found[0], texts=[text for record in found for text in record.texts])]
        ends = [f", sample {place}" for place in range(1, len(found) + 1)] if len(found) > 1 else [""]
        yield from (_Read(f"{one.where}{end}", record) for end, record in zip(ends, found, strict=False))


def _named(one: _Read, given: FieldsConfig) -> _Read:
    """The record with what a user's names find in its place. Raises: TextsError: there is nothing of that name."""
    changes: dict[str, Any] = {}
    for part, name in (("prompt", given.prompt), ("reference", given.reference), ("id", given.id)):
        if name is not None:
            try:
                changes[part] = at(one.record.source, name)
            except LookupError as error:
                found = ", ".join(map(str, one.record.source))
                raise TextsError(f"{one.where}: {name!r} is missing (fields found: {found}).") from error
    return _Read(one.where, replace(one.record, **changes))


def _split(one: _Read, prompts: int) -> list[_Read]:
    """One response to several prompts, whose texts follow one another, as many of each prompt."""
    texts = one.record.texts
    if len(texts) % prompts:
        return [one]  # the numbers do not fit, which is said where prompts are given
    each = len(texts) // prompts
    parts = [texts[place : place + each] for place in range(0, len(texts), each)]
    return [_Read(f"{one.where}, prompt {n}", replace(one.record, texts=part)) for n, part in enumerate(parts, 1)]


def _fields(record: Record, *, by_id: bool) -> dict[str, object]:
    return {
        "id": record.id if by_id else None,
        "prompt": record.prompt,
        "reference": record.reference,
        "continuation": list(record.texts),
    }


def _without_prompts(foreign: Foreign) -> str:
    begin = " and may begin with them" if foreign.in_front else ""
    return f"the texts are without their prompts{begin}: fields.prompts_from=<file> names a file that has them"
