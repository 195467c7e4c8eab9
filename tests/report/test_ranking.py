"""What is called better, best, tied or dominated is called so everywhere alike."""

import json
import math
import re
from pathlib import Path

import pytest

from cdeval.metrics.compare import holm
from cdeval.metrics.registry import Better, all_metrics, main_metrics
from cdeval.report.answer import findings
from cdeval.report.measures import qualities, ways
from cdeval.report.pareto import COST, objectives_of
from cdeval.report.publish import fronts_of, write_report
from cdeval.report.sections import _best
from cdeval.report.studyfiles import read_study
from cdeval.report.table import marks_of
from tests.report.studies import comparison, costs, setting, write_arm, write_study, write_text_scores

EXIT = "early_exit k=4 α=0.1 β=1 T=1, beam 5"


def test_every_place_counts_the_comparisons_that_holm_counted(tmp_path: Path) -> None:
    """Comparisons without a p-value were in the number of the page and of the verdict, not in the correction."""
    folder = write_study(tmp_path / "s", layers=(4, 8))
    later = EXIT.replace("k=4", "k=8")
    p_values = [0.01, 0.02, math.nan, math.nan]
    corrected = holm(p_values)
    assert corrected[0] == 0.02, "Holm counts two"
    pairs = [(EXIT, "diversity"), (later, "diversity"), (EXIT, "mauve"), (later, "mauve")]
    found = [
        {**comparison(arm, name), "p": None if math.isnan(p) else p, "p_holm": None if math.isnan(p) else by}
        for (arm, name), p, by in zip(pairs, p_values, corrected, strict=True)
    ]
    (folder / "comparisons.json").write_text(json.dumps(found))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "corrected for all 2 comparisons that have a p-value." in page, "the verdict"
    assert "p is corrected for all 2 comparisons that have a p-value;" in page, "the table of differences"
    summary = (folder / "report.md").read_text(encoding="utf-8")
    assert summary.count("all 2 comparisons that have a p-value") == 2, "the verdict and the legend"


def test_a_study_without_any_p_value_claims_no_correction(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s", layers=(4, 8))
    found = [{**comparison(EXIT.replace("k=4", f"k={k}")), "p": None, "p_holm": None} for k in (4, 8)]
    (folder / "comparisons.json").write_text(json.dumps(found))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "corrected for all" not in page
    assert "as no comparison has a p-value" in page
    assert "No comparison has a p-value." in page


def test_perplexity_has_no_better_side_anywhere(tmp_path: Path) -> None:
    """Loops have the least, and were crowned: arrow down, front, verdict, W&B's least."""
    folder = write_study(tmp_path / "s", layers=(4, 8))
    (measure,) = [one for one in qualities(read_study(folder)) if one.name == "perplexity_expert"]
    assert measure.heading == "perplexity ≈ human"
    fronts = fronts_of(read_study(folder))
    assert all(not front for names, front in fronts.items() if "perplexity_expert" in names)
    assert any(front for names, front in fronts.items() if "perplexity_expert" not in names)
    found = [{**comparison(EXIT, "perplexity_expert"), "p": 0.001, "p_holm": 0.001}]
    (folder / "comparisons.json").write_text(json.dumps(found))
    said = " ".join(findings(read_study(folder)))
    assert "better in" not in said
    assert "best" not in said


def test_what_loops_win_has_no_order() -> None:
    """Kills: coherence_loglik, which is perplexity's logarithm text by text, and was the higher the better in W&B."""
    likelihoods = [metric.name for metric in all_metrics() if metric.better is Better.human]
    assert {"perplexity_expert", "coherence_loglik"} <= set(likelihoods)
    every = dict.fromkeys([metric.name for metric in all_metrics()], 1.0) | {COST.name: 1.0}
    ranked = [one.name for one in objectives_of([every])]
    assert not {*likelihoods} & {*ways(), *ranked}
    assert all(one.way for one in objectives_of([every])), "what has no order makes no front"


@pytest.mark.long
def test_page_and_markdown_call_the_same_arms_dominated_by_the_same_numbers(tmp_path: Path) -> None:
    """Tables judge by four numbers, the picture by the two that are drawn: an arm was behind and on the front."""
    folder = write_study(tmp_path / "s", layers=(4, 8))
    row = {"label": "dearer", "role": "arm", "folder": "dearer"}
    write_arm(folder, row, ["x"], {"diversity": 0.3, "coherence": 0.4, "mauve": 0.7}, setting(), costs(3.0))
    page = write_report(folder).read_text(encoding="utf-8")
    words = re.findall(r'"(◆[^"]*)" : "([^"]*)"', page)
    assert words
    assert not any("dominated" in word for pair in words for word in pair)
    names = ", ".join(one.name for one in main_metrics() if one.better.way)
    meaning = f"† dominated: another row is as good in {names}, {COST.name}, and better in one."
    for shown in (page, (folder / "report.md").read_text(encoding="utf-8")):
        assert meaning in shown.replace("\\", "")
        assert [label for label in re.findall(r"([\w ,=α-β.]+?) †", shown) if "dearer" in label]
        assert shown.replace("† in the table judges", "").count("†") == 2, "the mark of one arm, and what it means"


def test_numbers_that_are_shown_alike_are_a_tie(tmp_path: Path) -> None:
    """0.50004 beside 0.50001 at the same price was dominated by a number that nobody saw."""
    folder = tmp_path / "s"
    for place, diversity in enumerate((0.50004, 0.50001, 0.499)):
        row = {"label": f"arm {place}", "role": "arm", "folder": str(place)}
        write_arm(folder, row, ["x"], {"diversity": diversity}, setting(layer=place), costs(1.0 + 1e-5 * place))
    study = read_study(folder)
    assert marks_of(study.rows)[0] == ["", "", " †"]
    assert fronts_of(study)["flops_per_token", "diversity"] == {"arm 0", "arm 1"}


def test_the_number_of_comparisons_is_that_of_the_correction(tmp_path: Path) -> None:
    """Of an arm whose texts were changed since, the comparison is shown no more; Holm had counted it."""
    folder = write_study(tmp_path / "s", layers=(4, 8))
    write_text_scores(folder / "exit-4", "diversity", [0.5, 0.5, 0.5])
    texts = folder / "exit-4" / "generations.jsonl"
    texts.write_text(texts.read_text().replace("one two", "one too"))
    study = read_study(folder)
    assert len(study.comparisons) == 1
    page = write_report(folder).read_text(encoding="utf-8")
    assert "1 differences" in page
    assert "p is corrected for all 2 comparisons" in page
    assert "corrected for all 2 comparisons" in (folder / "report.md").read_text(encoding="utf-8")


def test_a_tie_crowns_nobody(tmp_path: Path) -> None:
    """1.000 against 1.000 was "best", and the table marked the one that was larger by a last bit."""
    folder = write_study(tmp_path / "s", layers=(4, 8))
    for path in folder.glob("*/summary.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "diversity": 0.99999999, "texts": 2}))
    for path in folder.glob("*/metrics.json"):
        path.unlink()
    same = {"value": 0.0, "low": 0.0, "high": 0.0, "n": 30, "missing": 0, "note": ""}
    found = [{**comparison(EXIT.replace("k=4", f"k={k}")), "difference": same, "p": 1.0, "p_holm": 1.0} for k in (4, 8)]
    (folder / "comparisons.json").write_text(json.dumps(found))
    study = read_study(folder)
    said = " ".join(findings(study))
    assert "gains most" not in said
    assert "not shown to differ" in said
    assert "diversity (1.000 against 1.000)" in said
    assert "Of 2 arms that were compared with their control, none is shown to gain; in diversity 0 differ" in said
    assert _best(qualities(study)[0], study) == set()
