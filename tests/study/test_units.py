"""Units: what shares a forward pass follows from the plan alone, and a worker's texts from the unit alone."""

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.config.enums import SearchKind
from cdeval.config.points import Point, plan_points
from cdeval.config.schema import AmateurConfig, ContrastConfig, ExpertConfig, RunConfig, SearchConfig
from cdeval.models.loading import LanguageModel, language_model
from cdeval.records import Generation, Prompt
from cdeval.study import units as module
from cdeval.study.models import StudyModels
from cdeval.study.units import Unit, decode_unit, plan_units
from tests.conftest import build_model

PROMPTS = [Prompt(f"p{i}", "x", tuple(range(2, 8 + i % 2)), None, None) for i in range(4)]


def config(alpha: float, kind: SearchKind = SearchKind.beam, beams: int = 3, samples: int = 1) -> RunConfig:
    return RunConfig(
        expert=ExpertConfig(name="x"),
        amateur=AmateurConfig(layer=2),
        contrast=ContrastConfig(alpha=alpha),
        search=SearchConfig(kind=kind, beams=beams, samples=samples, max_new_tokens=6),
        controls=False,
    )


def points(*configs: RunConfig) -> list[Point]:
    return list(plan_points(configs, lambda _amateur: "weights", PROMPTS))


def keys(units: list[Unit]) -> list[list[tuple[str, str, int]]]:
    return [[(text.point.label, *text.key) for text in unit.texts] for unit in units]


def test_units_hold_every_text_once_in_lanes_of_one_shape_and_the_settings_of_a_prompt_together() -> None:
    drawn = config(0.3, SearchKind.sample, beams=1, samples=2)
    asked = points(config(0.1), config(0.2), drawn)
    units = plan_units(asked, PROMPTS, {3: 3, 1: 4})
    every = [text for unit in keys(units) for text in unit]
    assert len(every) == len(set(every)) == 4 * 2 + 4 * 2
    assert [unit.place for unit in units] == list(range(len(units)))
    assert [unit.beams for unit in units] == sorted(unit.beams for unit in units), "few beams first: they have room"
    for unit in units:
        assert len({text.lane.shape for text in unit.texts}) == 1
        assert len(unit.texts) <= {3: 3, 1: 4}[unit.beams]
        assert unit.tokens == 6 * len(unit.texts)
    first = next(unit for unit in units if unit.beams == 3)
    assert [text.prompt.id for text in first.texts] == ["p0", "p0", "p2"], "not point after point"


def test_the_texts_of_some_points_of_a_unit_keep_its_place() -> None:
    asked = points(config(0.1), config(0.2))
    (unit, *_) = plan_units(asked, PROMPTS, {3: 8})
    part = unit.of(asked[1:])
    assert part is not None
    assert part.place == unit.place
    assert {text.point for text in part.texts} == {asked[1]}
    assert unit.of([]) is None


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def models(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast) -> StudyModels:
    model = build_model("llama").to(getattr(torch, request.param))
    return StudyModels(language_model(model, tokenizer, "tiny"))


def texts(generations: list[Generation]) -> list[tuple[int, ...]]:
    return [one.token_ids for one in generations]


def test_a_unit_makes_the_same_texts_whatever_was_decoded_before_it(models: StudyModels) -> None:
    """Bit for bit, also in bfloat16: what a resume and another number of workers rest on."""
    units = plan_units(points(config(0.1), config(0.2)), PROMPTS, {3: 3})
    forwards = {unit.place: decode_unit(models, unit, 2).generations for unit in units}
    backwards = {unit.place: decode_unit(models, unit, 2).generations for unit in reversed(units)}
    assert forwards == backwards
    assert all(
        [(one.id, one.sample) for one in forwards[unit.place]] == [text.key for text in unit.texts] for unit in units
    )


def test_float32_texts_do_not_depend_on_the_unit(tiny: Callable[[str], LanguageModel]) -> None:
    expert = StudyModels(tiny("llama"))
    asked = points(config(0.1), config(0.2))
    found = []
    for lanes in (1, 3, 8):
        made = {}
        for unit in plan_units(asked, PROMPTS, {3: lanes}):
            for text, one in zip(unit.texts, decode_unit(expert, unit, 2).generations, strict=True):
                made[text.point.label, *text.key] = one.token_ids, one.continuation
        found.append(made)
    assert found[0] == found[1] == found[2]


def test_a_unit_that_does_not_fit_is_halved_keeps_its_order_and_tells_how_many_lanes_did(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    (unit, *_) = plan_units(points(config(0.1), config(0.2)), PROMPTS, {3: 4})
    whole = decode_unit(StudyModels(tiny("llama")), unit, 2)
    assert whole.lanes == len(unit.texts) == 4
    real, tried = module.decode, []

    def small(expert: LanguageModel, lanes: object, **named: object) -> object:
        tried.append(named["max_lanes"])
        return real(expert, lanes, **{**named, "max_lanes": 2})  # type: ignore[arg-type]

    monkeypatch.setattr(module, "decode", small)
    halved = decode_unit(StudyModels(tiny("llama")), unit, 2, max_lanes=3)
    assert tried == [3]
    assert halved.lanes == 2
    assert texts(halved.generations) == texts(whole.generations)
