"""The sweeps of a study: arms that differ in one number alone, and the levels that they are read against."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cdeval.report.measures import Measure
from cdeval.report.studyfiles import Arm, Kind, Study


class Axis(NamedTuple):
    """A number that may be varied."""

    name: str
    title: str
    value_of: Callable[[Mapping[str, Any]], object]  # of an arm's setting
    word: str  # as it is typed


AXES = (
    Axis("layer", "exit after block", lambda setting: setting["amateur"].get("layer"), "amateur.layer"),
    Axis("alpha", "plausibility threshold α", lambda setting: setting["alpha"], "contrast.alpha"),
    Axis("temperature", "amateur's temperature T", lambda setting: setting["temperature"], "contrast.temperature"),
    Axis("beta", "amateur's weight β", lambda setting: setting["beta"], "contrast.beta"),
)


_SIGNS = {"layer": "k", "alpha": "α", "temperature": "T", "beta": "β"}


class Line(NamedTuple):
    """Arms that differ in the axis alone, in its order."""

    label: str  # what tells it from the other lines; empty where it is the only one
    places: tuple[float, ...]
    arms: tuple[Arm, ...]


class Level(NamedTuple):
    """Something that does not vary, as a horizontal line."""

    label: str
    kind: str  # human, control or amateur
    arm: Arm


class Sweep(NamedTuple):
    """One varied number."""

    axis: Axis
    lines: list[Line]
    levels: list[Level]


def sweeps_of(study: Study) -> list[Sweep]:
    """The axes along which at least two arms of an early exit differ, each with its lines of two arms or more."""
    exits = [arm for arm in study.decoded if _amateur(arm).get("kind") == "early_exit"]
    found = []
    for axis in AXES:
        lines = _lines(axis, exits)
        if lines:
            found.append(Sweep(axis, lines, _levels(study, [arm for line in lines for arm in line.arms])))
    return found


def defined(line: Line, measure: Measure) -> list[tuple[float, Arm]]:
    """The places where a measure has a value."""
    pairs = zip(line.places, line.arms, strict=True)
    return [(place, arm) for place, arm in pairs if measure.is_known(arm)]


def _lines(axis: Axis, arms: Sequence[Arm]) -> list[Line]:
    groups: dict[str, list[tuple[float, Arm]]] = {}
    for arm in arms:
        place = axis.value_of(arm.setting)
        if isinstance(place, int | float):
            groups.setdefault(_rest(axis, arm), []).append((float(place), arm))
    kept = [sorted(group, key=lambda pair: pair[0]) for group in groups.values() if len(group) > 1]
    labels = _line_labels(axis, [group[0][1] for group in kept])
    return [
        Line(label, tuple(place for place, _ in group), tuple(arm for _, arm in group))
        for label, group in zip(labels, kept, strict=True)
    ]


def _rest(axis: Axis, arm: Arm) -> str:
    """The setting without the axis: equal on a line."""
    setting = {name: value for name, value in arm.setting.items() if name != axis.name}
    amateur = {name: value for name, value in _amateur(arm).items() if name != axis.name}
    return json.dumps({**setting, "amateur": amateur, "study": arm.study}, sort_keys=True)


def _line_labels(axis: Axis, first: Sequence[Arm]) -> list[str]:
    """The other axes' values where lines differ in them; the search and the study where they differ in those."""
    others = [
        other for other in AXES if other is not axis and len({str(other.value_of(arm.setting)) for arm in first}) > 1
    ]
    searches = len({arm.setting.get("search") for arm in first}) > 1
    studies = len({arm.study for arm in first}) > 1
    return [
        " ".join(
            [f"{_SIGNS[other.name]}={other.value_of(arm.setting):g}" for other in others]
            + ([str(arm.setting.get("search"))] if searches else [])
            + ([arm.study] if studies else [])
        )
        for arm in first
    ]


def _levels(study: Study, varied: Sequence[Arm]) -> list[Level]:
    """The human texts, the expert alone and the amateurs that are no early exits, under the same search."""
    searches = {_search(arm) for arm in varied}
    levels = [Level(_of_study("human", arm), "human", arm) for arm in study.arms if arm.is_human]
    for arm in study.decoded:
        if _search(arm) not in searches or arm.setting.get("adaptive_exit"):
            continue
        if arm.kind == Kind.alone:
            levels.append(Level(_of_study("expert alone", arm), "control", arm))
        elif arm.kind == Kind.amateur:
            levels.append(Level(_of_study(arm.label.split(" α=")[0], arm), "amateur", arm))
    return levels


def _of_study(name: str, arm: Arm) -> str:
    """A level's name, with its study's where several are shown together."""
    return f"{name} [{arm.study}]" if arm.study else name


def _search(arm: Arm) -> tuple[str, ...]:
    """The setting of an arm without its contrast: the search, how wide it is, and how tokens are drawn."""
    return tuple(json.dumps(arm.setting.get(name), sort_keys=True) for name in ("search", "beams", "sampling"))


def _amateur(arm: Arm) -> Mapping[str, Any]:
    found = arm.setting.get("amateur", {})
    return found if isinstance(found, Mapping) else {}
