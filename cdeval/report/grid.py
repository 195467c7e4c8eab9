"""The grid of a study: arms that differ in two or more numbers, as the page's heat map and parallel coordinates."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from cdeval.config.words import in_words
from cdeval.report.studyfiles import Arm, Study
from cdeval.report.sweep import AXES

_TITLES = {axis.word: axis.title for axis in AXES}


class SweptGrid(NamedTuple):
    """The numbers that were varied, and what the arms among which they were have of all that varies."""

    axes: dict[str, str]  # titles by the name of a setting, such as search.top_p
    varied: dict[str, dict[str, Any]]  # by arm: settings in which the arms of the grid differ, by name


def grid_of(study: Study) -> SweptGrid | None:
    """Find the numbers of settings that were varied while all else stayed; None where there are fewer than two."""
    settings = {arm.label: in_words(arm.setting) | _of(arm) for arm in study.decoded if arm.setting}
    known = dict.fromkeys(name for setting in settings.values() for name in setting)
    names = [name for name in dict.fromkeys([*_TITLES, *known]) if name in known]  # those that have a title first
    lines = {name: line for name in names if (line := _on_lines(name, settings))}
    if len(lines) < 2:
        return None
    labels = [label for label in settings if any(label in line for line in lines.values())]
    differing = [name for name in names if len({_key(settings[label].get(name)) for label in labels}) > 1]
    varied = {label: {name: settings[label].get(name) for name in differing} for label in labels}
    return SweptGrid({name: _TITLES.get(name, name.replace("_", " ")) for name in lines}, varied)


def _on_lines(name: str, settings: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The labels of arms that differ from another one in this number alone."""
    groups: dict[str, dict[str, float]] = {}
    for label, setting in settings.items():
        value = setting.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            rest = _key({key: other for key, other in setting.items() if key != name})
            groups.setdefault(rest, {})[label] = value
    return {label for group in groups.values() if len(set(group.values())) > 1 for label in group}


def _key(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _of(arm: Arm) -> dict[str, Any]:
    return {"study": arm.study} if arm.study else {}
