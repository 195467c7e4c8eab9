"""The executor of this process: a unit's texts follow from the unit alone, and a failure costs as little as it can."""

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from cdeval.decode.lanes import Lane
from cdeval.models.loading import LanguageModel, language_model
from cdeval.records import Generation
from cdeval.store.signals import Stop
from cdeval.study import executor as module
from cdeval.study.executor import DecodedUnit, FailedPoint, LocalExecutor
from cdeval.study.models import StudyModels
from cdeval.study.units import Unit, UnitTexts, plan_units
from tests.conftest import build_model
from tests.study.test_units import PROMPTS, config, plan, points


def decoded(models: StudyModels, unit: Unit) -> UnitTexts:
    (found,) = LocalExecutor(models).decode([unit], Stop())
    assert isinstance(found, DecodedUnit)
    assert found.unit == unit
    return found.texts


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def models(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast) -> StudyModels:
    model = build_model("llama").to(getattr(torch, request.param))
    return StudyModels(language_model(model, tokenizer, "tiny"))


def texts(generations: list[Generation]) -> list[tuple[int, ...]]:
    return [one.token_ids for one in generations]


def test_a_unit_makes_the_same_texts_whatever_was_decoded_before_it(models: StudyModels) -> None:
    """Bit for bit, also in bfloat16: what a resume and another number of workers rest on."""
    units = plan_units(points(config(0.1), config(0.2)), PROMPTS, plan({3: 3}))
    forwards = {unit.place: decoded(models, unit).generations for unit in units}
    backwards = {unit.place: decoded(models, unit).generations for unit in reversed(units)}
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
        for unit in plan_units(asked, PROMPTS, plan({3: lanes})):
            for text, one in zip(unit.texts, decoded(expert, unit).generations, strict=True):
                made[text.point.label, *text.key] = one.token_ids, one.continuation
        found.append(made)
    assert found[0] == found[1] == found[2]


def test_a_unit_that_does_not_fit_is_halved_keeps_its_order_and_tells_how_many_lanes_did(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    (unit, *_) = plan_units(points(config(0.1), config(0.2)), PROMPTS, plan({3: 4}))
    whole = decoded(StudyModels(tiny("llama")), unit)
    assert whole.lanes == len(unit.texts) == 4
    real, tried = module.decode, []

    def small(expert: LanguageModel, lanes: object, **named: object) -> object:
        tried.append(named["max_lanes"])
        return real(expert, lanes, **{**named, "max_lanes": 2})  # type: ignore[arg-type]

    monkeypatch.setattr(module, "decode", small)
    halved = decoded(StudyModels(tiny("llama")), unit._replace(fits=3))
    assert tried == [3]
    assert halved.lanes == 2
    assert texts(halved.generations) == texts(whole.generations)


def test_a_unit_that_fails_is_decoded_point_by_point_and_a_signal_stops_after_it(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = points(config(0.1), config(0.2))
    units = plan_units(asked, PROMPTS, plan({3: 4}))
    assert len(units) > 1
    real, stop = module.decode, Stop()

    def failing(expert: LanguageModel, lanes: list[Lane], **named: object) -> object:
        stop.number = 15
        if any(lane.setting.alpha == 0.2 for lane in lanes):
            raise RuntimeError("a kernel that is not there")
        return real(expert, lanes, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "decode", failing)
    whole, broken = LocalExecutor(StudyModels(tiny("llama"))).decode(units, stop)
    assert isinstance(whole, DecodedUnit)
    assert {text.point for text in whole.unit.texts} == {asked[0]}
    assert isinstance(broken, FailedPoint)
    assert {text.point for text in broken.unit.texts} == {asked[1]}
    assert str(broken.error) == "a kernel that is not there"
