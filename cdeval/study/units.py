"""Units of work: which texts share forward passes. Fixed by the plan alone, so that any worker makes the same texts.

A bfloat16 text depends on its batch: other lanes beside it, another last bit, another token. So what a unit holds
follows from what was asked for together, never from what happens to be left: a resume, or another number of workers,
redoes whole units.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from cdeval.config.points import Point
from cdeval.config.setting import Setting
from cdeval.decode.batches import decode, plan_batches
from cdeval.decode.finite import not_finite
from cdeval.decode.lanes import Continuation, Lane
from cdeval.prompts.tokens import TextCodec
from cdeval.records import Generation, Prompt
from cdeval.store.folder import Key
from cdeval.study.models import StudyModels


class Wanted(NamedTuple):
    """One text to be decoded."""

    point: Point
    setting: Setting  # the point's
    prompt: Prompt
    sample: int

    @property
    def key(self) -> Key:
        """Of the text in its point's run folder."""
        return self.prompt.id, self.sample

    @property
    def lane(self) -> Lane:
        """As the engine takes it."""
        return Lane(self.prompt.token_ids, self.setting, self.prompt.id, self.sample)


class Unit(NamedTuple):
    """Texts that share their forward passes: lanes of one shape, so of one beam width."""

    place: int  # in its plan
    texts: tuple[Wanted, ...]

    @property
    def beams(self) -> int:
        """Of every lane."""
        return self.texts[0].setting.beams

    @property
    def tokens(self) -> int:
        """Most new tokens of all its texts together."""
        return sum(text.setting.max_new_tokens for text in self.texts)

    def of(self, points: Iterable[Point]) -> "Unit | None":
        """The same unit without the texts of other points; None where nothing is left."""
        mine = {point.digest for point in points}
        texts = tuple(text for text in self.texts if text.point.digest in mine)
        return Unit(self.place, texts) if texts else None


class Decoded(NamedTuple):
    """A unit's answers."""

    generations: list[Generation]  # in the order of the unit's texts
    lanes: int  # most that shared a forward pass: fewer than the unit's texts where memory ran out
    faults: Mapping[int, str] = MappingProxyType({})  # places of texts that have no answer, and why


def plan_units(points: Sequence[Point], prompts: Sequence[Prompt], lanes: Mapping[int, int]) -> list[Unit]:
    """Every text of the points, as units in the order in which they are decoded.

    Prompt-major: the settings of one prompt share its prefill, and finished prompts are complete in all points.
    Searches of few beams have room for more lanes: one width of beam after the other.

    Args:
        points: planned together; the human reference has nothing to decode.
        prompts: of every point.
        lanes: most in one forward pass, by the beams of a lane.
    """
    texts = [
        Wanted(point, point.setting, prompt, sample)
        for prompt in prompts
        for point in points
        if point.setting is not None
        for sample in range(point.samples)
    ]
    units: list[Unit] = []
    for beams in sorted({text.setting.beams for text in texts}):
        mine = [text for text in texts if text.setting.beams == beams]
        for places in plan_batches([text.lane for text in mine], lanes[beams]):
            units.append(Unit(len(units), tuple(mine[place] for place in places)))
    return units


def decode_unit(
    models: StudyModels,
    unit: Unit,
    compact_every: int,
    *,
    max_lanes: int | None = None,
    on_step: Callable[[int], None] = lambda _tokens: None,
    say: Callable[[str], None] = lambda _line: None,
) -> Decoded:
    """Decode a whole unit: all that a worker does.

    Args:
        models: the models.
        unit: what to decode.
        compact_every: steps between compactions of the cache; 0 never compacts.
        max_lanes: in one forward pass, where a unit before did not fit in memory; None: all of the unit.
        on_step: as in `decode.batches.decode`.
        say: told in one line when memory runs out; the unit goes on in halves.

    Raises: ModelError: not even one lane fits in memory.
    """
    answers: dict[int, Continuation] = {}
    most = 0
    for batch in decode(
        models.expert,
        [text.lane for text in unit.texts],
        seconds=models.seconds,
        max_lanes=min(max_lanes or len(unit.texts), len(unit.texts)),
        compact_every=compact_every,
        on_step=on_step,
        say=say,
    ):
        answers.update(zip(batch.lanes, batch.continuations, strict=True))
        most = max(most, len(batch.lanes))
    codec = TextCodec(models.expert.tokenizer)
    found = [_generation(text, answers[place], codec) for place, text in enumerate(unit.texts)]
    faults = {
        place: str(not_finite(fault, models.expert, text.prompt.id, text.setting))
        for place, text in enumerate(unit.texts)
        if (fault := answers[place].fault) is not None
    }
    return Decoded(found, most, faults)


def _generation(wanted: Wanted, answer: Continuation, codec: TextCodec) -> Generation:
    prompt = wanted.prompt
    return Generation(
        id=prompt.id,
        prompt=prompt.text,
        prompt_token_ids=prompt.token_ids,
        reference=prompt.reference,
        continuation=codec.continuation_text(answer.token_ids, prompt.token_ids),
        token_ids=answer.token_ids,
        logprob_expert=answer.logprob_expert,
        score=answer.score,
        sample=wanted.sample,
        exit_layers=answer.exit_layers,
    )
