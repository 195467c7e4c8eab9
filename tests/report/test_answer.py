"""The one sentence of a study says what its numbers say, and nothing where they say nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cdeval.metrics.compare import ArmRows
from cdeval.metrics.scorefile import SCORES, ArmScores, Score, texts_digest, to_bytes
from cdeval.records import Estimate
from cdeval.report.answer import answer, findings
from cdeval.report.publish import write_report
from cdeval.report.studyfiles import read_study
from cdeval.store.folder import RunFolder
from tests.report.studies import comparison, costs, score, setting, write_arm, write_study

EXIT = "early_exit k=4 α=0.1 β=1 T=1, beam 5"
Said = Callable[..., str]


@pytest.fixture
def said(tmp_path: Path) -> Said:
    folder = write_study(tmp_path / "s", layers=(4,))

    def tell(*found: dict[str, object]) -> str:
        (folder / "comparisons.json").write_text(json.dumps(found))
        return answer(read_study(folder))

    return tell


def test_an_exit_that_is_better_in_one_and_worse_in_another(said: Said) -> None:
    assert said(comparison(EXIT), comparison(EXIT, "coherence", -0.1)) == (
        "The exit after block 4 under beam search is more diverse (0.500 against 0.300) and less coherent (0.400 "
        "against 0.500) than the expert alone under the same search, for 10 % more compute."
    )


def test_pages_have_the_sentence_of_the_screen_for_their_headline(said: Said, tmp_path: Path) -> None:
    """There were two wordings of one finding."""
    sentence = said(comparison(EXIT))
    page = write_report(tmp_path / "s").read_text("utf-8")
    assert f'<h1 class="verdict">{sentence}</h1>' in page
    assert sentence in (tmp_path / "s" / "report.md").read_text("utf-8").replace("\\", "")
    assert findings(read_study(tmp_path / "s"))[0] == sentence


def test_a_change_that_is_not_shown_is_no_change(said: Said) -> None:
    text = said(comparison(EXIT), comparison(EXIT, "coherence", -0.1, p_holm=0.06))
    assert "is more diverse (0.500 against 0.300) than the expert alone under the same search, and not shown" in text
    assert "to differ from it in coherence (0.400 against 0.500)" in text
    assert "less coherent" not in text


def test_an_exit_that_is_worse(said: Said) -> None:
    text = said(comparison(EXIT, difference=-0.2))
    assert "is less diverse" in text
    assert "more diverse" not in text


def test_an_exit_that_is_level(said: Said) -> None:
    text = said(comparison(EXIT, p_holm=0.5), comparison(EXIT, "coherence", -0.1, p_holm=0.5))
    assert "is not shown to differ from the expert alone under the same search in diversity" in text
    assert " or coherence " in text


def test_nothing_that_was_compared(said: Said) -> None:
    text = said()
    assert text.startswith("There is no verdict: none of the 2 arms was compared")


def test_prompts_that_are_too_few(said: Said) -> None:
    none = {**comparison(EXIT), "difference": {**score(0.0), "value": None, "low": None, "high": None}}
    assert said(none).startswith("There is no verdict: no two arms have scores of 20 prompts")


def test_costs_alone(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    row = {"label": EXIT, "role": "arm", "folder": "exit"}
    write_arm(folder, row, (), {}, setting(layer=4), costs(1.0))
    (folder / "exit" / "summary.json").write_text(json.dumps(costs(1.0)))
    assert "priced and none was decoded" in answer(read_study(folder))


def keep(folder: Path, name: str, values: list[float]) -> None:
    """Store what a metric said of each text, as scoring does."""
    texts = list(RunFolder(folder).generations().values())
    rows = ArmRows(tuple(text.id for text in texts), np.array([[value, 1.0] for value in values]))
    mean = float(np.mean(values))
    score = Score(Estimate(mean, mean, mean, len(values), 0), texts_digest(texts), "x", {}, rows)
    (folder / SCORES).write_bytes(to_bytes(ArmScores({name: score})))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.9] * 30, "is more coherent (0.900)"),
        ([0.1] * 30, "is less coherent (0.100)"),
        ([0.3, 0.5] * 15, "is not shown to differ in coherence (0.400)"),
    ],
)
def test_the_nearest_truncation_stands_beside_it(tmp_path: Path, values: list[float], expected: str) -> None:
    texts = ("one two three",) * 30
    folder = write_study(tmp_path / "s", layers=(4,), texts=texts)
    (folder / "comparisons.json").write_text(json.dumps([comparison(EXIT)]))
    keep(folder / "exit-4", "coherence", [0.4] * 30)
    for label, diversity in (("expert alone, min-p .1", 0.52), ("expert alone, sample τ=1", 0.9)):
        row = {"label": label, "role": "arm", "folder": label.split(", ")[1].replace(" ", "-")}
        scores = {"diversity": diversity, "coherence": float(np.mean(values))}
        write_arm(folder, row, texts, scores, setting("none", None, search="sample"), costs(0.9, 0))
        keep(folder / row["folder"], "coherence", values)
        shown = json.loads((folder / "shown.json").read_text())
        (folder / "shown.json").write_text(json.dumps({**shown, "rows": [*shown["rows"], row]}))
    text = answer(read_study(folder))
    assert "beside it, the expert's own min-p .1, of 2 truncations the nearest to it in diversity," in text
    assert expected in text
