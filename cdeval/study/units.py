"""Units of work: texts that are decoded together. A unit follows from its plan alone: any worker makes the same texts.

A bfloat16 text depends on its batch: other lanes beside it, another last bit, another token. So a unit holds what was
requested together, never what happens to be left: a resume, or another number of workers, decodes whole units again.
"""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from cdeval.config.enums import Ban, SearchKind
from cdeval.config.points import Point
from cdeval.config.setting import Setting
from cdeval.decode.batches import Batch, plan_batches
from cdeval.decode.finite import not_finite
from cdeval.decode.lanes import Continuation, Lane
from cdeval.models.loading import LanguageModel
from cdeval.prompts.tokens import TextCodec
from cdeval.records import Generation, Prompt
from cdeval.store.folder import Key
from cdeval.store.ledger import Plan


class TextTask(NamedTuple):
    """One text that is to be decoded."""

    point: Point
    setting: Setting  # of the point
    prompt: Prompt
    sample: int

    @property
    def key(self) -> Key:
        """Key of the text in the run folder of its point."""
        return self.prompt.id, self.sample

    @property
    def lane(self) -> Lane:
        """The text as the engine takes it."""
        return Lane.from_prompt(self.prompt, self.setting, self.sample)


class Unit(NamedTuple):
    """A group of texts that share their forward passes. Their lanes have one shape, and so one beam width."""

    place: int  # in its plan
    texts: tuple[TextTask, ...]
    plan: Plan
    fits: int | None = None  # most lanes in one forward pass, where memory ran out before; None: all of them

    @property
    def beams(self) -> int:
        """Beam width of every lane."""
        return self.texts[0].setting.beams

    @property
    def tokens(self) -> int:
        """Most new tokens of all its texts together."""
        return sum(text.setting.max_new_tokens for text in self.texts)

    @property
    def max_lanes(self) -> int:
        """Most lanes to try in one forward pass."""
        return min(self.fits or len(self.texts), len(self.texts))

    @property
    def lanes(self) -> list[Lane]:
        """The texts as the engine takes them."""
        return [text.lane for text in self.texts]

    def without(self, points: Container[Point]) -> "Unit | None":
        """Leave out the texts of these points; None where no text is left."""
        texts = tuple(text for text in self.texts if text.point not in points)
        return self._replace(texts=texts) if texts else None

    def by_point(self) -> list["Unit"]:
        """A part for each point, to find the setting that cannot be decoded."""
        points = dict.fromkeys(text.point for text in self.texts)
        return [self._replace(texts=tuple(text for text in self.texts if text.point == point)) for point in points]

    def by_text(self) -> list["Unit"]:
        """A part for each text, to find the prompt that cannot be decoded."""
        return [self._replace(texts=(text,)) for text in self.texts]

    def __str__(self) -> str:
        """Name the texts for people."""
        first = self.texts[0]
        more = f" and {len(self.texts) - 1} more texts" if len(self.texts) > 1 else ""
        return f"prompt {first.prompt.id!r} of {first.point.label}{more}"


class UnitTexts(NamedTuple):
    """The decoded texts of a unit."""

    generations: list[Generation]  # in the order of the unit's texts
    lanes: int  # most that shared a forward pass: fewer than the unit's texts where memory ran out
    faults: Mapping[int, str] = MappingProxyType({})  # by their places, texts that came to no end, and why


def plan_units(points: Sequence[Point], prompts: Sequence[Prompt], plan: Plan) -> list[Unit]:
    """Arrange every text of the points in units, in the order in which they are decoded.

    The settings of one prompt share its prefill, and finished prompts are complete in all points. Lanes of few beams
    take less memory, so more of them share a forward pass: units are made for one beam width after the other.

    Args:
        points: of the plan; the human reference has nothing to decode.
        prompts: of every point.
        plan: says how many lanes may share a forward pass.
    """
    texts = [
        TextTask(point, point.setting, prompt, sample)
        for prompt in prompts
        for point in points
        if point.setting is not None
        for sample in range(point.samples)
    ]
    units: list[Unit] = []
    for beams in sorted({text.setting.beams for text in texts}):
        mine = [text for text in texts if text.setting.beams == beams]
        for places in plan_batches([text.lane for text in mine], plan.lanes[beams]):
            units.append(Unit(len(units), tuple(mine[place] for place in places), plan))
    return units


def unit_texts(unit: Unit, batches: Iterable[Batch], expert: LanguageModel) -> UnitTexts:
    """Put the answers of the engine in the order of the unit's texts, as records to be stored.

    Args:
        unit: that was decoded.
        batches: all that `decode.batches.decode` made of its lanes.
        expert: that decoded it.
    """
    answers: dict[int, Continuation] = {}
    most = 0
    for batch in batches:
        answers.update(zip(batch.lanes, batch.continuations, strict=True))
        most = max(most, len(batch.lanes))
    codec = TextCodec(expert.tokenizer)
    generations = [_generation(text, answers[place], codec) for place, text in enumerate(unit.texts)]
    faults = {
        place: str(not_finite(fault, expert, text.prompt.id, text.setting))
        for place, text in enumerate(unit.texts)
        if (fault := answers[place].fault) is not None
    }
    faults |= {
        place: problem
        for place, text in enumerate(unit.texts)
        if (problem := _too_short(text, answers[place])) is not None and place not in faults
    }
    return UnitTexts(generations, most, faults)


def _too_short(text: TextTask, answer: Continuation) -> str | None:
    """Say that transformers ended a text which is to have a fixed length; None: it did not."""
    setting, made = text.setting, len(answer.token_ids)
    if setting.search is not SearchKind.hf or setting.ban is Ban.none or made == setting.max_new_tokens:
        return None
    return (
        f"search.generate made {made} of {setting.max_new_tokens} tokens for the prompt {text.prompt.id!r}: with "
        f"search.ban={setting.ban.name} texts have one length. Let it go on (the banned tokens are suppressed by a "
        "logits processor, which a custom_generate must call), or let texts end: search.ban=none."
    )


def _generation(text: TextTask, answer: Continuation, codec: TextCodec) -> Generation:
    prompt = text.prompt
    return Generation(
        id=prompt.id,
        prompt=prompt.text,
        prompt_token_ids=prompt.token_ids,
        reference=prompt.reference,
        continuation=codec.continuation_text(answer.token_ids, prompt.token_ids),
        token_ids=answer.token_ids,
        logprob_expert=None if math.isnan(answer.logprob_expert) else answer.logprob_expert,
        score=None if math.isnan(answer.score) else answer.score,
        sample=text.sample,
        exit_layers=answer.exit_layers,
    )
