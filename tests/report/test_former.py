"""Scores of texts that have been changed or lost since are named wherever a study is read, and not compared."""

import json
import sys
from pathlib import Path

import pytest

from cdeval.cli import Schema, run_schema
from cdeval.compare import CompareRun, compare_studies
from cdeval.errors import StorageError
from cdeval.metrics.scorefile import SCORES, of_estimates, texts_digest, to_bytes
from cdeval.records import Estimate
from cdeval.report import publish
from cdeval.report.__main__ import report
from cdeval.report.answer import findings
from cdeval.report.charts import charts_of
from cdeval.report.config import ReportRun, validate_report
from cdeval.report.exports import records
from cdeval.report.studyfiles import read_study
from cdeval.report.table import markdown_table
from cdeval.report.tracking import views
from cdeval.store.folder import RunFolder
from tests.report.studies import write_study

LABEL = "early_exit k=4 α=0.1 β=1 T=1, beam 5"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Of two exits, whose scores say of which texts they are."""
    folder = write_study(tmp_path / "s")
    for path in folder.glob("exit-*"):
        estimates = {name: Estimate(0.5, 0.4, 0.6, 3, 0) for name in json.loads((path / "metrics.json").read_text())}
        content = texts_digest(list(RunFolder(path).generations().values()))
        (path / SCORES).write_bytes(to_bytes(of_estimates(estimates, content)))
    return folder


def lose_file(texts: Path) -> None:
    texts.unlink()


def lose_all(texts: Path) -> None:
    texts.write_text("")


def lose_one(texts: Path) -> None:
    texts.write_text("".join(texts.read_text().splitlines(keepends=True)[:-1]))


def lose_half_a_line(texts: Path) -> None:
    texts.write_bytes(texts.read_bytes()[:-9])


def change_a_letter(texts: Path) -> None:
    texts.write_text(texts.read_text().replace("one two three", "one two thre", 1))


def add_one(texts: Path) -> None:
    texts.write_text(texts.read_text() + texts.read_text().splitlines()[0].replace("doc-0", "doc-9") + "\n")


LOSSES = {lose_file: "0 of 3", lose_all: "0 of 3", lose_one: "2 of 3", lose_half_a_line: "2 of 3"}


def test_a_whole_study_has_no_mark(study: Path) -> None:
    found = read_study(study)
    assert found.changed == []
    assert len(found.comparisons) == 2
    assert "‡" not in markdown_table(found.rows, found.notes)
    assert "of_former_texts" not in records(found)[0]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("damage", [*LOSSES, change_a_letter, add_one])
def test_what_is_of_former_texts_is_marked_and_compared_with_nobody(study: Path, damage, *, known: bool) -> None:  # type: ignore[no-untyped-def]
    if not known:  # as an older cdeval left it: a number of texts, and nothing that says which
        (study / "exit-4" / SCORES).unlink()
    damage(study / "exit-4" / "generations.jsonl")
    found = read_study(study)
    if damage is change_a_letter and not known:
        assert found.changed == [], "nothing tells the texts apart"
        return
    (line,) = found.changed
    assert line in found.notes
    assert f"'{LABEL}'" in line
    assert LOSSES.get(damage, "") in line
    assert "coherence, diversity, mauve" in line
    assert "run the command that made it once more" in line
    assert [one.arm == LABEL for one in found.comparisons] == [False]
    marked = [row.label for row in found.rows if row.mark]
    assert marked == [LABEL]
    assert markdown_table(found.rows).count("‡") == 1
    assert next(record["of_former_texts"] for record in records(found)) == "coherence diversity mauve"


def test_former_scores_are_drawn_nowhere_and_dominate_nobody(study: Path) -> None:
    """They were: as points, lines and curves, on the front, starred as the best, and named by the verdict."""
    summary = study / "exit-4" / "summary.json"
    best = {**json.loads(summary.read_text()), "diversity": 0.99, "coherence": 0.99, "mauve": 0.99}
    summary.write_text(json.dumps(best | {"flops_per_token": 1.0}))
    before = read_study(study)
    assert "†" in markdown_table(before.rows)
    lose_one(study / "exit-4" / "generations.jsonl")
    found = read_study(study)
    assert not any(LABEL in front for front in publish.fronts_of(found).values())
    assert "†" not in markdown_table(found.rows)
    scored = [chart for chart in charts_of(found) if chart.kind in ("points", "lines", "curves")]
    assert scored
    shown = [name for chart in scored for line in chart.series for name in (line.label, *line.names)]
    assert not any("k=4" in name for name in shown)
    assert any("k=8" in name for name in shown)
    assert LABEL not in " ".join(findings(found))
    page = publish.publish(found).read_text(encoding="utf-8")
    assert f"(‡ in the table): {LABEL}." in page
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [name for name in data["arms"][0]["values"]] == [
        "flops_per_token",
        "decode_seconds_per_token",
        "memory_bytes",
    ]


def test_a_control_without_its_texts_is_compared_with_nobody_either(study: Path) -> None:
    lose_one(study / "alone" / "generations.jsonl")
    assert read_study(study).comparisons == []


def test_scores_without_texts_beside_them_are_not_marked(study: Path) -> None:
    """`cdeval.score` leaves the texts where they are."""
    for name in ("generations.jsonl", "config.yaml", SCORES):
        (study / "exit-4" / name).unlink()
    assert read_study(study).changed == []


def test_the_report_says_so_on_the_screen_and_on_every_page(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lose_file(study / "exit-4" / "generations.jsonl")
    monkeypatch.setattr(publish, "charts_of", lambda _study: [])
    monkeypatch.setattr(sys, "argv", ["cdeval.report", f"study={study}"])
    run_schema(report, Schema(ReportRun, validate_report), config_name="report")
    printed = capsys.readouterr()
    assert "0 of 3 texts are left since it was scored" in " ".join(printed.err.split())
    for name in ("report.md", "report.html", "results.csv", "results.tex"):
        text = (study / name).read_text(encoding="utf-8")
        assert "‡" in text or "of_former_texts" in text, name
    assert "0 of 3 texts are left" in (study / "report.md").read_text(encoding="utf-8")
    assert "0 of 3 texts are left" in (study / "report.html").read_text(encoding="utf-8")


def test_the_dashboard_says_so(study: Path) -> None:
    lose_one(study / "exit-4" / "generations.jsonl")
    assert any("2 of 3 texts are left" in line for line in views.outline(views._views(study)))


def test_two_studies_without_their_texts_are_not_the_same(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They were: none of 0 texts differed, and every number was equal."""
    lose_file(study / "exit-4" / "generations.jsonl")
    with pytest.raises(SystemExit) as stopped:
        compare_studies(CompareRun([str(study), str(study)]))
    assert stopped.value.code == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "0 of 3 texts are left" in printed
    assert "they may differ" in printed
    record = study.parent / "record.json"
    with pytest.raises(StorageError, match="not written, because scores in it would be of other texts: "):
        compare_studies(CompareRun([str(study)], str(record)))
    assert not record.exists()
