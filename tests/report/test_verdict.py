"""What qualifies the answer says no more than corrected intervals do; contrast stands for a study before all else."""

import json
from pathlib import Path

import pytest

from cdeval.report.publish import write_report
from cdeval.report.studyfiles import read_study
from cdeval.report.verdict import best_of, evidence
from tests.report.studies import comparison, costs, setting, write_arm, write_study

EXIT = "early_exit k=4 α=0.1 β=1 T=1, beam 5"


def said(folder: Path, *found: dict[str, object]) -> str:
    (folder / "comparisons.json").write_text(json.dumps(found))
    return " ".join(evidence(read_study(folder)))


def chosen(folder: Path) -> str:
    """The label of the arm that stands for the study."""
    best = best_of(read_study(folder))
    assert best is not None
    return best.arm


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "s", layers=(4,))


def test_a_difference_that_is_shown(study: Path) -> None:
    text = said(
        study, comparison(EXIT), comparison(EXIT, "coherence", -0.1, 0.9), comparison(EXIT, "mauve", -0.3, 0.001)
    )
    better, worse = "better diversity, +0.200 (+0.150 to +0.250)", "worse MAUVE, -0.300 (-0.350 to -0.250)"
    assert f"{EXIT}, compared with expert alone, beam 5, has {better} and {worse}" in text
    assert "not shown to differ in coherence" in text
    assert "10.0 % more compute" in text


def test_a_difference_that_is_not_shown_is_no_gain(study: Path) -> None:
    text = said(study, comparison(EXIT, p_holm=0.06))
    assert "is not shown to differ in diversity" in text
    assert "better" not in text


def test_losses_are_losses(study: Path) -> None:
    assert "has worse diversity, -0.200" in said(study, comparison(EXIT, difference=-0.2))


def test_baselines_do_not_stand_for_the_study(study: Path) -> None:
    """Sampling gains most against search everywhere; it is not what was asked."""
    row = {"label": "expert alone, sample τ=1", "role": "arm", "folder": "sample"}
    write_arm(study, row, ["x"], {"diversity": 0.99}, setting("none", None, search="sample"))
    shown = json.loads((study / "shown.json").read_text())
    (study / "shown.json").write_text(json.dumps({**shown, "rows": [*shown["rows"], row]}))
    text = said(study, comparison(EXIT), comparison(row["label"], difference=0.6))
    assert chosen(study) == EXIT
    assert "Highest diversity" not in text, "one arm alone was compared"


def test_of_many_arms_the_one_that_gains_most(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s", layers=(4, 8))
    text = " ".join(evidence(read_study(folder)))
    assert chosen(folder).startswith("early_exit k=8")
    assert "Of 2 arms that were compared with their control, it gains most; in diversity 2 differ" in text
    assert "from it for the better and 0 for the worse" in text


@pytest.mark.parametrize(
    ("lost", "p_holm", "first"),
    [("coherence", 0.01, 4), ("mauve", 0.01, 4), ("coherence", 0.06, 8), ("perplexity_expert", 0.01, 8)],
)
def test_an_arm_that_breaks_the_text_does_not_stand_for_the_study(
    tmp_path: Path, lost: str, p_holm: float, first: int
) -> None:
    """A raw exit is the most diverse because it is no longer text: what loses nothing that is shown goes before it.

    Perplexity rises wherever the expert is subtracted from: it spoils nothing.
    """
    folder = write_study(tmp_path / "s", layers=(4, 8))
    less, more = (f"early_exit k={k} α=0.1 β=1 T=1, beam 5" for k in (4, 8))
    worse = 9.0 if lost == "perplexity_expert" else -0.2
    text = said(folder, comparison(less), comparison(more, difference=0.4), comparison(more, lost, worse, p_holm))
    assert chosen(folder).startswith(f"early_exit k={first} ")
    assert ("not shown to lose elsewhere" in text) == (first == 4)


def test_a_gain_with_a_loss_is_a_gain_where_nothing_else_gains(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s", layers=(4, 8))
    less, more = (f"early_exit k={k} α=0.1 β=1 T=1, beam 5" for k in (4, 8))
    shown = [comparison(less, p_holm=0.9), comparison(more, difference=0.4), comparison(more, "coherence", -0.2)]
    text = said(folder, *shown)
    assert chosen(folder).startswith("early_exit k=8")
    assert "worse coherence" in text


def test_costs_alone_claim_nothing_of_texts(tmp_path: Path) -> None:
    """A study of random weights stores no text: its page says what it is, and stands."""
    folder = tmp_path / "s"
    write_arm(folder, {"label": "a", "role": "arm", "folder": "a"}, [], {}, setting(), costs(1.0))
    summary = json.loads((folder / "a" / "summary.json").read_text())
    del summary["texts"]
    (folder / "a" / "summary.json").write_text(json.dumps(summary))
    assert evidence(read_study(folder)) == []
    assert "No texts were scored" in write_report(folder).read_text(encoding="utf-8")


def test_without_comparisons_nothing_is_claimed(study: Path) -> None:
    assert said(study) == ""
