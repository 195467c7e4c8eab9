"""Texts: decoded unit by unit, stored as soon as their unit is done, and never decoded twice."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from cdeval.cast import Cast
from cdeval.points import Point, Role
from cdeval.records import Generation, Prompt
from cdeval.reporting.progress import decoding_progress
from cdeval.store import Key, RunFolder
from cdeval.units import Unit, decode_unit, plan_units

Texts: TypeAlias = dict[Point, list[Generation]]  # in the order of the prompts, the samples of each together
Stored: TypeAlias = Mapping[Point, Mapping[Key, Generation]]


class Room(NamedTuple):
    """How many lanes share a forward pass, and how often their cache is compacted."""

    lanes: Mapping[int, int]  # by the beams of a lane
    compact_every: int  # steps; 0 never compacts


def write_texts(
    cast: Cast,
    room: Room,
    prompts: Sequence[Prompt],
    folders: Mapping[Point, RunFolder],
    say: Callable[[str], None],
) -> Texts:
    """Every point's texts; units whose texts are all stored are not decoded again.

    Raises: StorageError: a text cannot be stored. ModelError: not even one lane fits in memory.
    """
    stored = {point: folder.generations() for point, folder in folders.items()}
    for point, folder in folders.items():
        if point.role is Role.human:
            held = stored[point]
            missing = [prompt for prompt in prompts if prompt.reference is not None and (prompt.id, 0) not in held]
            folder.append(_human(prompt) for prompt in missing)
    units = [unit for unit in plan_units(list(folders), prompts, room.lanes) if _missing(unit, stored)]
    reused = sum(len(found) for point, found in stored.items() if point.setting is not None)
    if reused:
        say(f"{reused} continuations are already stored and are reused")
    _decode_and_store(cast, units, room.compact_every, folders, stored, say)
    found = {point: folder.generations() for point, folder in folders.items()}
    return {point: _in_order(found[point], prompts, point.samples) for point in folders}


def _missing(unit: Unit, stored: Stored) -> bool:
    return any(text.key not in stored[text.point] for text in unit.texts)


def _in_order(found: Mapping[Key, Generation], prompts: Sequence[Prompt], samples: int) -> list[Generation]:
    keys = [(prompt.id, sample) for prompt in prompts for sample in range(samples)]
    return [found[key] for key in keys if key in found]


def _decode_and_store(
    cast: Cast,
    units: Sequence[Unit],
    compact_every: int,
    folders: Mapping[Point, RunFolder],
    stored: Stored,
    say: Callable[[str], None],
) -> None:
    """Decode what is missing; each unit is on disk before the next one starts."""
    if not units:
        return
    total = sum(unit.tokens for unit in units)
    texts = sum(len(unit.texts) for unit in units)
    with decoding_progress(total, f"decoding {texts} continuations", enabled=True) as advance:
        for unit in units:
            made = decode_unit(cast, unit, compact_every, on_step=advance, say=say)
            for point, folder in folders.items():
                pairs = zip(unit.texts, made.generations, strict=True)
                new = [one for text, one in pairs if text.point is point and text.key not in stored[point]]
                if new:
                    folder.append(new)


def _human(prompt: Prompt) -> Generation:
    return Generation(
        id=prompt.id,
        prompt=prompt.text,
        prompt_token_ids=prompt.token_ids,
        reference=prompt.reference,
        continuation=prompt.reference or "",
        token_ids=prompt.reference_token_ids or (),
        logprob_expert=None,
        score=None,
    )
