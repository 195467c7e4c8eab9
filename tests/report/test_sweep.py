"""Lines hold everything else fixed; levels belong to the same search."""

from pathlib import Path

from cdeval.report.studyfiles import Study, read_study
from cdeval.report.sweep import sweeps_of
from tests.report.studies import setting, write_arm, write_study


def grid(folder: Path) -> Study:
    for layer in (4, 8):
        for alpha in (0.1, 0.3):
            row = {"label": f"k={layer} α={alpha}", "role": "arm", "folder": f"{layer}-{alpha}"}
            write_arm(folder, row, ["x"], {"diversity": layer * alpha}, setting(layer=layer, alpha=alpha))
    others = {
        "alone": setting("none", None, alpha=1.0),
        "alone, greedy": setting("none", None, alpha=1.0, search="greedy", beams=1),
        "2-gram α=0.1": setting("ngram", None),
    }
    for label, own in others.items():
        write_arm(folder, {"label": label, "role": "arm", "folder": label}, ["x"], {"diversity": 0.5}, own)
    return read_study(folder)


def test_a_line_a_value_of_the_other_axis(tmp_path: Path) -> None:
    layer, alpha = sweeps_of(grid(tmp_path / "s"))
    assert (layer.axis.name, alpha.axis.name) == ("layer", "alpha")
    assert {line.label: line.places for line in layer.lines} == {"α=0.1": (4.0, 8.0), "α=0.3": (4.0, 8.0)}
    assert {line.label: line.places for line in alpha.lines} == {"k=4": (0.1, 0.3), "k=8": (0.1, 0.3)}
    assert [arm.value("diversity").value for arm in layer.lines[0].arms] == [0.4, 0.8]


def test_levels_are_of_the_same_search(tmp_path: Path) -> None:
    """Greedy's expert alone beside beam search's lines would compare two searches."""
    levels = sweeps_of(grid(tmp_path / "s"))[0].levels
    assert {(level.kind, level.arm.label) for level in levels} == {("control", "alone"), ("amateur", "2-gram α=0.1")}


def test_levels_are_drawn_as_the_lines_are(tmp_path: Path) -> None:
    """Top-k beside lines of nucleus sampling was one more line "expert alone", and nobody could tell which."""
    nucleus, top_k = ({"search": "sample", "beams": 1, "sampling": one} for one in ({"top_p": 0.95}, {"top_k": 50}))
    settings = {
        **{f"k={k}": setting(layer=k, **nucleus) for k in (4, 8)},
        "nucleus": setting("none", None, **nucleus),
        "top-k": setting("none", None, **top_k),
    }
    for label, own in settings.items():
        row = {"label": label, "role": "arm", "folder": label}
        write_arm(tmp_path / "s", row, ["x"], {"diversity": 0.5}, own)
    (layers,) = sweeps_of(read_study(tmp_path / "s"))
    assert [level.arm.label for level in layers.levels] == ["nucleus"]


def test_one_setting_varies_nothing(tmp_path: Path) -> None:
    assert sweeps_of(read_study(write_study(tmp_path / "s", layers=(4,)))) == []
