"""Texts: decoded, stored as soon as their batch is done, and never decoded twice."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, TypeAlias

from cdeval.cast import Cast
from cdeval.decode.batches import decode
from cdeval.decode.lanes import Continuation, Lane
from cdeval.models.loading import LanguageModel
from cdeval.points import Point, Role
from cdeval.records import Generation, Prompt, Setting
from cdeval.reporting.progress import decoding_progress
from cdeval.store import Key, RunFolder

Texts: TypeAlias = dict[Point, list[Generation]]  # in the order of the prompts, the samples of each together


class Wanted(NamedTuple):
    """One text to be decoded."""

    point: Point
    setting: Setting  # the point's
    prompt: Prompt
    sample: int


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
    """Every point's texts; those that are stored already are not decoded again.

    Raises: StorageError: a text cannot be stored. ModelError: not even one lane fits in memory.
    """
    stored = {point: folder.generations() for point, folder in folders.items()}
    for point, folder in folders.items():
        if point.role is Role.human:
            held = stored[point]
            missing = [prompt for prompt in prompts if prompt.reference is not None and (prompt.id, 0) not in held]
            folder.append(_human(prompt) for prompt in missing)
    # Prompt-major order: the settings of one prompt share its prefill, and finished prompts are complete in all points.
    wanted = [
        Wanted(point, point.setting, prompt, sample)
        for prompt in prompts
        for point in folders
        if point.setting is not None
        for sample in range(_samples(point))
        if (prompt.id, sample) not in stored[point]
    ]
    reused = sum(len(found) for point, found in stored.items() if point.setting is not None)
    if reused:
        say(f"{reused} continuations are already stored and are reused")
    _decode_and_store(cast, room, wanted, folders, say)
    found = {point: folder.generations() for point, folder in folders.items()}
    return {point: _in_order(found[point], prompts, _samples(point)) for point in folders}


def _samples(point: Point) -> int:
    """Texts a prompt."""
    return 1 if point.setting is None else point.setting.sampling.samples


def _in_order(found: Mapping[Key, Generation], prompts: Sequence[Prompt], samples: int) -> list[Generation]:
    keys = [(prompt.id, sample) for prompt in prompts for sample in range(samples)]
    return [found[key] for key in keys if key in found]


def _decode_and_store(
    cast: Cast,
    room: Room,
    wanted: Sequence[Wanted],
    folders: Mapping[Point, RunFolder],
    say: Callable[[str], None],
) -> None:
    """Decode what is wanted; each batch is on disk before the next one starts."""
    if not wanted:
        return
    total = sum(one.setting.max_new_tokens for one in wanted)
    with decoding_progress(total, f"decoding {len(wanted)} continuations", enabled=True) as advance:
        for texts in _batches(cast, room, wanted, advance, say):
            for point, folder in folders.items():
                mine = [_generation(one, answer, cast.expert) for one, answer in texts if one.point is point]
                if mine:
                    folder.append(mine)


def _batches(
    cast: Cast, room: Room, wanted: Sequence[Wanted], advance: Callable[[int], None], say: Callable[[str], None]
) -> Iterator[list[tuple[Wanted, Continuation]]]:
    """Searches of few beams have room for more lanes: one width of beam after the other."""
    for beams, group in groupby(sorted(wanted, key=_beams), key=_beams):
        mine = list(group)
        for batch in decode(
            cast.expert,
            [Lane(one.prompt.token_ids, one.setting, one.prompt.id, one.sample) for one in mine],
            seconds=cast.seconds,
            max_lanes=room.lanes[beams],
            compact_every=room.compact_every,
            on_step=advance,
            say=say,
        ):
            yield [(mine[place], answer) for place, answer in zip(batch.lanes, batch.continuations, strict=True)]


def _beams(wanted: Wanted) -> int:
    return wanted.setting.beams


def _generation(wanted: Wanted, answer: Continuation, expert: LanguageModel) -> Generation:
    prompt = wanted.prompt
    return Generation(
        id=prompt.id,
        prompt=prompt.text,
        prompt_token_ids=prompt.token_ids,
        reference=prompt.reference,
        continuation=expert.tokenizer.decode(answer.token_ids, skip_special_tokens=True),
        token_ids=answer.token_ids,
        logprob_expert=answer.logprob_expert,
        score=answer.score,
        sample=wanted.sample,
        exit_layers=answer.exit_layers,
    )


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
