"""Several studies on one page: every arm is there, told apart, and compared within its own study."""

from pathlib import Path

import pytest

from cdeval.errors import ConfigError
from cdeval.report.config import ReportRun, validate_report
from cdeval.report.joined import find_study, joined, joint_folder
from cdeval.report.publish import publish
from cdeval.report.studyfiles import read_study
from cdeval.report.sweep import sweeps_of
from tests.report.studies import write_study


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two studies, which share the exit at block 8, the control and the human texts."""
    return [write_study(tmp_path / "a", layers=(4, 8)), write_study(tmp_path / "b", layers=(8, 12, 16))]


def test_arms_of_one_label_have_their_studys_name_and_no_arm_is_lost(folders: list[Path], tmp_path: Path) -> None:
    found = joined([read_study(folder) for folder in folders], tmp_path / "both")
    labels = [arm.label for arm in found.arms]
    assert len(labels) == len(set(labels)) == 4 + 5
    shared = "early_exit k=8 α=0.1 β=1 T=1, beam 5"
    assert {f"{shared} [a]", f"{shared} [b]", "human [a]", "human [b]"} <= set(labels)
    assert "early_exit k=4 α=0.1 β=1 T=1, beam 5" in labels, "a label that is told apart already stays"
    assert [arm.is_human for arm in found.arms] == [False] * 7 + [True] * 2
    assert {(one.arm in labels, one.against in labels) for one in found.comparisons} == {(True, True)}


def test_each_study_is_corrected_for_itself_and_the_page_says_so(folders: list[Path], tmp_path: Path) -> None:
    studies = [read_study(folder) for folder in folders]
    page = publish(joined(studies, tmp_path / "both")).read_text(encoding="utf-8")
    assert "corrected within each study, for all its comparisons that have a p-value (a 2, b 3)" in page


def test_lines_of_different_studies_are_not_one_line(folders: list[Path], tmp_path: Path) -> None:
    (layers,) = sweeps_of(joined([read_study(folder) for folder in folders], tmp_path))
    assert {line.label: line.places for line in layers.lines} == {"a": (4.0, 8.0), "b": (8.0, 12.0, 16.0)}
    assert {level.label for level in layers.levels if level.kind == "human"} == {"human [a]", "human [b]"}


def test_studies_of_one_name_have_their_folders_as_well(tmp_path: Path) -> None:
    studies = [read_study(write_study(tmp_path / folder / "s")) for folder in ("one", "two")]
    assert joined(studies, tmp_path).name == "one/s + two/s"
    with pytest.raises(ConfigError, match="2 times: give each study once"):
        joined([studies[0], studies[0]], tmp_path)


def test_a_study_is_found_by_its_name_and_a_missing_one_named_with_those_there_are(folders: list[Path]) -> None:
    runs = folders[0].parent
    assert find_study("a", runs) == runs / "a"
    with pytest.raises(ConfigError, match=r"study=c: there is no such folder.* Known: a, b"):
        find_study("c", runs)


def test_no_study_is_overwritten(folders: list[Path]) -> None:
    with pytest.raises(ConfigError, match=r"holds a study of its own.*give another folder, as out="):
        joint_folder(folders, folders[1])
    assert joint_folder(folders, None) == folders[0].parent / "a+b"
    with pytest.raises(ConfigError, match="out=x is not read with one study"):
        validate_report(ReportRun("a", out="x"))
