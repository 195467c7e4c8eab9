"""Units: what shares a forward pass follows from the plan alone, and a worker's texts from the unit alone."""

from cdeval.config.enums import SearchKind
from cdeval.config.points import Point, plan_points
from cdeval.config.schema import AmateurConfig, ContrastConfig, ExpertConfig, RunConfig, SearchConfig
from cdeval.records import Prompt
from cdeval.store.ledger import Plan
from cdeval.study.units import Unit, plan_units

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


def plan(lanes: dict[int, int]) -> Plan:
    return Plan(("all",), lanes, compact_every=2)


def keys(units: list[Unit]) -> list[list[tuple[str, str, int]]]:
    return [[(text.point.label, *text.key) for text in unit.texts] for unit in units]


def test_units_hold_every_text_once_in_lanes_of_one_shape_and_the_settings_of_a_prompt_together() -> None:
    drawn = config(0.3, SearchKind.sample, beams=1, samples=2)
    asked = points(config(0.1), config(0.2), drawn)
    units = plan_units(asked, PROMPTS, plan({3: 3, 1: 4}))
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
    (unit, *_) = plan_units(asked, PROMPTS, plan({3: 8}))
    part = unit.without(asked[:1])
    assert part is not None
    assert part.place == unit.place
    assert {text.point for text in part.texts} == {asked[1]}
    assert unit.without(asked) is None
    assert unit.without([]) == unit
    assert [{text.point for text in one.texts} for one in unit.by_point()] == [{one} for one in asked]
    assert [one.texts for one in unit.by_text()] == [(text,) for text in unit.texts]
