"""The page is one file that asks for nothing, in which no text can become a tag, and small enough to mail."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import escape

from cdeval.report import texts
from cdeval.report.charts import charts_of
from cdeval.report.publish import fronts_of, write_report
from cdeval.report.rendering import render
from cdeval.report.short import short_labels
from cdeval.report.studyfiles import read_study
from cdeval.report.texts import repeated_spans, side_by_side
from tests.report.studies import write_study

NASTY = (
    "</script><script>alert(1)</script></style><img src=//x.y onerror=alert(2)> & \u2028 \"'`$x {{ 7 * 7 }} {% raw %}"
)


def page_of(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Everything that a user or a model writes is nasty."""
    folder = write_study(tmp_path_factory.mktemp("nasty") / "s", texts=[NASTY] * 3)
    for name in ("shown.json", "comparisons.json"):
        (folder / name).write_text((folder / name).read_text().replace("expert alone", json.dumps(NASTY)[1:-1]))
    shown = json.loads((folder / "shown.json").read_text())
    (folder / "shown.json").write_text(json.dumps({**shown, "notes": [NASTY]}))
    return page_of(folder)


def test_only_our_own_tags_open(nasty: str) -> None:
    without_plotly = re.sub(r"<script>/\*\*\n\* plotly.*?</script>", "", nasty, flags=re.DOTALL)
    assert len(re.findall(r"<script", without_plotly)) == 2, "the data and the page's own"
    assert not re.search(r"<img|alert\(1\)</script>|</style>.*</style>", without_plotly, flags=re.DOTALL)
    assert str(escape(NASTY)) in nasty
    assert "{{ 7 * 7 }} {% raw %}" in nasty, "a text is no template"


def test_texts_come_back_from_the_data_to_the_letter(nasty: str) -> None:
    data = json.loads(re.search(r'id="data">(.*?)</script>', nasty, flags=re.DOTALL)[1])
    assert {text["text"] for prompt in data["texts"] for text in prompt["texts"]} == {NASTY}


def test_a_template_that_lacks_a_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="eyebrow"):
        render("report/templates/base.html.j2")


def test_no_page_names_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    page = render(
        "report/templates/base.html.j2", eyebrow=tmp_path / "a", headline=f"in {tmp_path}/b", data=[f"{tmp_path}/c"]
    )
    assert "~/a" in page
    assert "in ~/b" in page
    assert str(tmp_path) not in page


def test_the_policy_names_every_script_by_its_hash_and_allows_no_network(nasty: str) -> None:
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', nasty)[1])
    scripts = re.findall(r"<script>(.*?)</script>", nasty, flags=re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    script_sources = next(part for part in policy.split(";") if "script-src" in part)
    assert "unsafe-inline" not in script_sources


@pytest.mark.long
def test_a_report_is_complete_and_made_the_same_again(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s")
    write_report(folder)
    names = ["report.html", "report.md", "results.csv", "results.parquet", "results.tex"]
    before = {name: (folder / name).read_bytes() for name in names}
    charts = charts_of(read_study(folder))
    assert {path.name for path in (folder / "figures").iterdir()} == {
        f"{c.name}.{s}" for c in charts for s in ("png", "svg")
    }
    write_report(folder)
    assert before == {name: (folder / name).read_bytes() for name in names}


@pytest.mark.long
def test_twelve_arms_of_64_long_texts_fit_in_8_megabytes(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s", layers=range(1, 13), texts=["a word and another one " * 60] * 64)
    assert write_report(folder).stat().st_size <= 8e6


@pytest.mark.long
def test_more_texts_than_fit_are_left_out_by_whole_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(texts, "repeated_spans", lambda shown: read.append(1) or repeated_spans(shown))
    folder = write_study(tmp_path / "s", texts=["word " * 40_000] * 8)
    kept = side_by_side(read_study(folder))
    assert 0 < len(kept) < 8
    assert all(len(prompt["texts"]) == 4 for prompt in kept)
    assert len(read) == 4 * len(kept) + 4, "repetitions were looked for in all texts of a study"
    assert f"the first {len(kept)} of 8 prompts" in page_of(folder)


def test_the_front_is_of_the_arms_that_cost_less_or_score_more(tmp_path: Path) -> None:
    """Each exit is better and dearer than the one before; on coherence they are equal, so the cheapest beats them."""
    fronts = fronts_of(read_study(write_study(tmp_path / "s", layers=(4, 8))))
    labels = [f"early_exit k={layer} α=0.1 β=1 T=1, beam 5" for layer in (4, 8)]
    assert fronts["flops_per_token", "diversity"] == {*labels, "expert alone, beam 5"}
    assert fronts["flops_per_token", "coherence"] == {"expert alone, beam 5"}


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("a b c d e f", []),
        ("a b c d a b c d e", ["a b c d"]),
        ("a b c d  a\nb c d a b c d", ["a\nb c d a b c d"]),
        ("no no no no no", ["no no no no"]),
        ("", []),
    ],
)
def test_what_stood_there_before_is_marked(text: str, marked: list[str]) -> None:
    assert [text[start:end] for start, end in repeated_spans(text)] == marked


def test_places_are_counted_as_javascript_counts(tmp_path: Path) -> None:
    text = "\U0001f600 b c d \U0001f600 b c d"
    folder = write_study(tmp_path / "s", texts=[text])
    start, end = side_by_side(read_study(folder))[0]["texts"][0]["repeats"]
    assert text.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le") == "\U0001f600 b c d"


def test_short_labels_stay_apart() -> None:
    labels = [
        "exit k=1 β=1, beam 5",
        "exit k=2 β=1, beam 5",
        "CALM k=1,2 by x, greedy",
        "exit k=2, beam 5 k=2",
        "x",
        "x y",
    ]
    short = short_labels(labels)
    assert len(set(short.values())) == len(labels)
    assert short["CALM k=1,2 by x, greedy"] == "CALM k=1,2 by x"


def test_short_labels_keep_the_comma_before_the_search() -> None:
    """Where the word before it goes, too."""
    labels = [
        f"pruned {blocks} T=1, {search}" for blocks, search in (("6..15", "beam 5"), ("6..15", "greedy"), ("1", "x"))
    ]
    assert list(short_labels(labels).values()) == ["pruned 6..15, beam 5", "pruned 6..15, greedy", "pruned 1, x"]
