"""A study is read as it stood on the screen, without it as its folders say, and broken files are named."""

import json
import math
from pathlib import Path

import pytest

from cdeval.errors import StorageError
from cdeval.report.charts import charts_of
from cdeval.report.studyfiles import Kind, read_study
from tests.report.studies import costs, setting, write_arm, write_study


def test_rows_stand_as_they_were_shown(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path / "s", layers=(8, 4)))
    assert [arm.folder for arm in study.arms] == ["exit-8", "exit-4", "alone", "human"]
    assert [arm.kind for arm in study.decoded] == [Kind.exit, Kind.exit, Kind.alone]
    assert study.notes == ["made by hand"]
    assert study.human is not None
    assert [one.difference.value for one in study.comparisons] == [0.1, 0.2]


def test_finished_runs_that_the_last_table_lacks_follow_it(tmp_path: Path) -> None:
    """Another process finished them since; the human texts stay last."""
    folder = write_study(tmp_path / "s")
    write_arm(folder, {"label": "later", "role": "arm", "folder": "later"}, ["x"], {"diversity": 1.0}, setting())
    labels = [arm.label for arm in read_study(folder).arms]
    assert labels[-2:] == ["later", "human"]
    (folder / "exit-4" / "summary.json").unlink()
    assert len(read_study(folder).arms) == len(labels) - 1, "a run that is no longer finished has no row"


def test_points_of_one_label_are_all_there_and_told_apart(tmp_path: Path) -> None:
    """Of several commands, two may call their arms the same: one of them hid the other in every picture."""
    folder = write_study(tmp_path / "s")
    same = "early_exit k=4 α=0.1 β=1 T=1, beam 5"
    write_arm(folder, {"label": same, "role": "arm", "folder": "later"}, ["x"], {"diversity": 1.0}, setting(), costs(2))
    study = read_study(folder)
    assert [arm.label for arm in study.arms if arm.label.startswith(same)] == [same, f"{same} (later)"]
    drawn = next(chart for chart in charts_of(study) if chart.kind == "points")
    assert sum(len(series.x) for series in drawn.series) == len(study.decoded) == 4


def test_finished_folders_alone_are_a_study_with_the_human_texts_last(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s")
    (folder / "shown.json").unlink()
    (folder / "exit-4" / "summary.json").unlink()
    study = read_study(folder)
    assert [arm.folder for arm in study.arms] == ["exit-8", "alone", "human"]


def test_what_is_missing_is_nan_and_empty(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s")
    for name in ("config.yaml", "provenance.json", "metrics.json", "divergence.json", "generations.jsonl"):
        (folder / "exit-4" / name).unlink()
    arm = read_study(folder).arms[0]
    assert (arm.setting, arm.curve, arm.generations) == ({}, [], [])
    assert math.isnan(arm.value("diversity").low)
    assert arm.value("diversity").value == 0.5


@pytest.mark.parametrize("seconds", [[0.1, 0.2], [[0.1], [0.2]]])
def test_seconds_of_tokens_lie_flat_or_pass_by_pass(tmp_path: Path, seconds: list[object]) -> None:
    folder = write_study(tmp_path / "s")
    (folder / "exit-4" / "latency.json").write_text(json.dumps({"token_seconds": seconds}))
    assert read_study(folder).arms[0].token_seconds == [0.1, 0.2]


def test_mistakes_name_the_file_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such folder"):
        read_study(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="no run in it is finished"):
        read_study(tmp_path / "empty")
    folder = write_study(tmp_path / "s")
    (folder / "exit-4" / "metrics.json").write_text("[[1,")
    with pytest.raises(StorageError, match=r"exit-4/metrics\.json is damaged .*Run the command that made it"):
        read_study(folder)
