"""What a run of a tracker says of its point: the settings that hold for it, under the words that one types."""

from cdeval.config.points import Point, Role
from cdeval.config.schema import AmateurConfig, RunConfig
from cdeval.config.setting import expert_alone, setting_of
from cdeval.report.progress import Advance
from cdeval.study.tracking import _both, _typed

SETTINGS = {"seed": 0, "study": "s", "amateur": {"layer": 0.8}, "contrast": {"temperature": "calibrated"}, "search": {}}


def test_blocks_and_numbers_stand_where_fractions_and_words_were_typed() -> None:
    config = RunConfig(amateur=AmateurConfig(layer=6))
    arm, control = setting_of(config), expert_alone(setting_of(config))
    found = {
        role: _typed(SETTINGS, Point(role, setting, "l", "d").facts()["setting"])  # type: ignore[arg-type]
        for role, setting in ((Role.arm, arm), (Role.control, control))
    }
    assert found[Role.arm]["amateur"]["layer"] == 6
    assert found[Role.arm]["contrast"]["temperature"] == 0.5
    assert found[Role.arm]["search"]["beams"] == 5
    assert found[Role.arm]["study"] == "s"
    assert (found[Role.control]["amateur"]["kind"], found[Role.control]["amateur"]["layer"]) == ("none", None)
    assert _typed(SETTINGS, None) == {"seed": 0, "study": "s"}, "human texts have no setting"
    assert SETTINGS["amateur"] == {"layer": 0.8}, "what the run folder records is left as it is"


def test_screen_and_tracker_hear_of_the_same_progress() -> None:
    heard: list[object] = []
    both = _both(Advance(heard.append, heard.append), Advance(heard.append, heard.append))
    both.tokens(3)
    both.texts({"a": 1})
    assert heard == [3, 3, {"a": 1}, {"a": 1}]
