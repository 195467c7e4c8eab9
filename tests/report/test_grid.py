"""A grid is arms that differ in two numbers or more, each of them alone; other differences are no axes."""

from pathlib import Path

from cdeval.report.grid import grid_of
from cdeval.report.studyfiles import read_study
from tests.report.studies import setting, write_arm, write_grid, write_quickstart, write_study


def test_the_axes_are_the_numbers_that_vary_alone(tmp_path: Path) -> None:
    found = grid_of(read_study(write_grid(tmp_path / "s")))
    assert found is not None
    assert set(found.axes) == {"amateur.layer", "contrast.alpha", "contrast.beta"}
    assert found.axes["contrast.alpha"] == "plausibility threshold α"
    assert len(found.varied) == 36, "the control is no part of it"
    first = found.varied["early_exit k=12 linear lens α=0.01 β=0.5 T=1, beam 5"]
    assert first == {"amateur.layer": 12, "contrast.alpha": 0.01, "contrast.beta": 0.5}


def test_sampling_makes_a_grid_as_well(tmp_path: Path) -> None:
    for p in (0.9, 0.95):
        for k in (10, 50):
            own = setting("none", None, sampling={"top_p": p, "top_k": k})
            write_arm(tmp_path / "s", {"label": f"{p} {k}", "role": "arm", "folder": f"{p}-{k}"}, ["x"], {}, own)
    found = grid_of(read_study(tmp_path / "s"))
    assert found is not None
    assert found.axes == {"search.top_p": "search.top p", "search.top_k": "search.top k"}


def test_one_varied_number_is_no_grid_and_unlike_arms_are_none(tmp_path: Path) -> None:
    assert grid_of(read_study(write_study(tmp_path / "s"))) is None
    assert grid_of(read_study(write_quickstart(tmp_path / "q"))) is None
