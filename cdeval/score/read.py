"""A file of generations to one arm: records, and notes that say what was made of the file."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cdeval.errors import TextsError
from cdeval.records import Generation
from cdeval.score.config import FieldsConfig
from cdeval.score.foreign.inspect_log import archived, is_archive
from cdeval.score.foreign.known import expanded, foreign_of
from cdeval.score.formats import SHAPE, Format, Item, fitting, item_of, recognise, without_prompt
from cdeval.score.marks import plain_prompt, without_marks
from cdeval.score.prompts import one_reference_a_prompt, same_prompt
from cdeval.score.prompts_from import read_prompts, with_prompts
from cdeval.store.item_file import ItemFile, Located
from cdeval.store.strict_json import generation_from_json

_HALF = re.compile("[\ud800-\udfff]")  # half of a surrogate pair, which no tokenizer takes


@dataclass(frozen=True, slots=True)
class ReadFile:
    """The content of a file of texts."""

    path: Path
    sha256: str  # of the file's content, unpacked
    format: str  # for people
    generations: tuple[Generation, ...]  # samples of one prompt share its id; token ids only where the file has ours
    references: tuple[Generation, ...]  # the human text of each item that has one, as generations without tokens
    tokenised: bool  # the file is ours and its token ids are some expert's
    notes: tuple[str, ...]


def read_generations(path: Path, fields: FieldsConfig) -> ReadFile:
    """Read one file of any known format, our own, published ones, or those of other programs.

    A prompt's id is the file's own, or else a digest of the prompt's text, so that equal prompts of several files
    meet; equal prompts with unlike references are told apart by their order.

    Raises: TextsError: the file cannot be read, has no known fields, or an item lacks one; names file and line.
    """
    file = ItemFile(path, "generations", SHAPE, TextsError)
    content = file.content()
    located, torn = (archived(content, path), False) if is_archive(content) else file.whole(content)
    notes = ["the last line is torn and was left out"] if torn else []
    if not located:
        raise TextsError(f"{path} holds no items: {SHAPE}.")
    shape = located[0].value[0] if isinstance(located[0].value, list) and located[0].value else located[0].value
    if not isinstance(shape, dict):
        raise TextsError(f"{path}, {located[0].where}: expected an object; {SHAPE}.")
    located, form, about_format = _recognised(located, shape, fields, path)
    notes += about_format
    sha256 = hashlib.sha256(content).hexdigest()
    if form.name == "cdeval" and "token_ids" in shape and fields == FieldsConfig():
        ours = _by_prompt(one_reference_a_prompt([_ours(item, path) for item in located], str(path)))
        return ReadFile(path, sha256, form.describe(), ours, human_texts(ours), tokenised=True, notes=tuple(notes))
    items = [item_of(item, form, path) for item in located]
    if form.prompt_in_text:
        cuts = [without_prompt(item) for item in items]
        items = [cut.item for cut in cuts]
        notes += _cut_notes(
            sum(cut.cut for cut in cuts), sum(cut.uncut for cut in cuts), sum(cut.marks for cut in cuts)
        )
    items, halves = _whole_characters(items)
    if halves:
        notes.append(
            f"{halves} texts hold half a character (a lone surrogate), which is read as \N{REPLACEMENT CHARACTER}"
        )
    items, about_prompts = _plain_prompts(items)
    notes += about_prompts
    unmarked = without_marks(_generations(items), str(path))
    notes += unmarked.notes()
    notes += _sample_notes(items, unmarked.texts)
    texts = _by_prompt(one_reference_a_prompt(unmarked.texts, str(path)))
    return ReadFile(path, sha256, form.describe(), texts, human_texts(texts), tokenised=False, notes=tuple(notes))


def _recognised(
    located: Sequence[Located], first: Mapping[str, object], fields: FieldsConfig, path: Path
) -> tuple[list[Located], Format, list[str]]:
    """The file's items by the names of their format, this format, and notes."""
    prompts = None if fields.prompts_from is None else read_prompts(Path(fields.prompts_from))
    foreign = None if fields.continuation is not None or fitting(first) else foreign_of(first)
    if foreign is None:
        items, notes = list(located), list[str]()
        form = recognise(first, fields, f"{path}, {located[0].where}")
    else:
        items, form, notes = expanded(located, foreign, fields, prompts, path)
    if prompts is not None:
        items, form = with_prompts(items, form, prompts, path)
    if fields.prompt_in_text is not None:
        form = replace(form, prompt_in_text=fields.prompt_in_text)
    elif foreign is not None and foreign.in_front:
        # Where some texts do not begin with their prompt, none was written behind it: those that do repeat it.
        cuts = [without_prompt(item_of(item, form, path)) for item in items] if form.prompt is not None else []
        form = replace(form, prompt_in_text=bool(cuts) and not any(cut.uncut for cut in cuts))
    return items, form, notes


def human_texts(texts: Sequence[Generation]) -> tuple[Generation, ...]:
    """The human text of each prompt that has a reference, once a prompt."""
    first = {text.id: text for text in reversed(texts) if text.reference is not None}
    return tuple(human_text(first[name]) for name in dict.fromkeys(text.id for text in texts) if name in first)


def human_text(generation: Generation) -> Generation:
    """The reference in the place of the continuation; its tokens are not known."""
    return replace(
        generation,
        continuation=generation.reference or "",
        token_ids=(),
        logprob_expert=None,
        score=None,
        sample=0,
    )


def _ours(located: Located, path: Path) -> Generation:
    try:
        return generation_from_json(located.value)
    except ValueError as error:
        raise TextsError(f"{path}, {located.where} is not a stored text: {error}. Delete it, or repair it.") from error


def _by_prompt(generations: Sequence[Generation]) -> tuple[Generation, ...]:
    """The samples of each prompt together and in their order, which a resumed run's file need not keep."""
    place = {generation.id: index for index, generation in reversed(list(enumerate(generations)))}
    return tuple(sorted(generations, key=lambda generation: (place[generation.id], generation.sample)))


def _generations(items: Sequence[Item]) -> list[Generation]:
    """The samples of all items, under the file's ids or under digests of the prompts.

    Prompts without an id that are equal and have unlike references are told apart by their order; a sample without a
    reference is of the prompt whose reference was read last, or comes first.
    """
    found: list[Generation] = []
    known: dict[str, list[str]] = {}  # prompt's id: its different references, in order
    prompts: dict[str, Item] = {}
    for item in items:
        if item.id is not None and not same_prompt((first := prompts.setdefault(item.id, item)).prompt, item.prompt):
            raise TextsError(
                f"{item.where}: the id {item.id!r} has another prompt there than in {first.where.split(', ')[-1]}: "
                "expected different ids for different prompts."
            )
        if item.id is None and item.reference is not None:
            known.setdefault(item.prompt, [])
            if item.reference not in known[item.prompt]:
                known[item.prompt].append(item.reference)
    last: dict[str, int] = {}
    for item in items:
        identifier, order = item.id, 0
        if identifier is None:
            identifier = f"prompt-{hashlib.sha256(item.prompt.encode()).hexdigest()[:16]}"
            order = last.get(item.prompt, 0) if item.reference is None else known[item.prompt].index(item.reference)
            last[item.prompt] = order
        unique = identifier if order == 0 else f"{identifier}-{order + 1}"
        found += [
            Generation(unique, item.prompt, (), item.reference, text, (), None, None, sample)
            for sample, text in enumerate(item.continuations)
        ]
    return found


def _plain_prompts(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """The items with prompts that begin with their text, and what a reader must know of special tokens in prompts."""
    read = [plain_prompt(item.prompt) for item in items]
    changed = sum(prompt != item.prompt for (prompt, _), item in zip(read, items, strict=True))
    inside = sum(kept for _, kept in read)
    notes = [f"special tokens were removed from the front of {changed} prompts"] if changed else []
    if inside:
        notes.append(f"{inside} prompts hold special tokens inside, as chats do, and are read as they are")
    return [item._replace(prompt=prompt) for item, (prompt, _) in zip(items, read, strict=True)], notes


def _whole_characters(items: Sequence[Item]) -> tuple[list[Item], int]:
    """The items without half characters, and how many texts had some."""
    count = 0

    def whole(text: str) -> str:
        nonlocal count
        mended = _HALF.sub("\N{REPLACEMENT CHARACTER}", text)
        count += mended != text
        return mended

    mended = [
        item._replace(
            id=None if item.id is None else _HALF.sub("\N{REPLACEMENT CHARACTER}", item.id),
            prompt=whole(item.prompt),
            reference=None if item.reference is None else whole(item.reference),
            continuations=tuple(whole(text) for text in item.continuations),
        )
        for item in items
    ]
    return mended, count


def _cut_notes(cut: int, uncut: int, marks: int) -> list[str]:
    notes = [f"{cut} of {cut + uncut} texts begin with their prompt, which was cut off"]
    if uncut:
        notes.append(f"{uncut} texts do not begin with their prompt and are read as continuations as they are")
    if marks:
        notes.append(f"an end-of-text mark was removed from the front of {marks} prompts")
    return notes


def _sample_notes(items: Sequence[Item], texts: Sequence[Generation]) -> list[str]:
    notes = []
    without = sum(item.reference is None for item in items)
    if 0 < without < len(items):
        notes.append(f"{without} of {len(items)} items have no reference")
    empty = sum(not text.continuation.strip() for text in texts)
    if empty:
        notes.append(f"{empty} continuations are empty")
    return notes
