"""No text of others is obeyed: not by a terminal, a spreadsheet, Markdown or TeX."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from rich.table import Table

from cdeval.report.exports import to_csv, to_latex, to_markdown
from cdeval.report.studyfiles import read_study
from cdeval.report.table import markdown_table
from cdeval.store import escaping
from cdeval.store.screen import Screen, complain
from tests.report.studies import write_study

HOSTILE = [
    "\x1b[2J\x1b]0;owned\x07",  # clears the screen, names the window
    "\x9b31m",  # the same in one sign of 8 bits
    "a\rerror: none",  # goes back to the line's beginning
    "safe\u202etxt.exe",  # reads backwards
    "\u2066a\u2069",
    "a\u2028b\x85c\x00d\x7f\x08",
    "half a pair \ud83d",
]
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =cmd|' /C calc'!A0", "\n=1", "＝1"]
FORMULAS += ["\u200b=1", "\ufeff@x"]  # behind what cannot be seen


@pytest.mark.parametrize("text", HOSTILE)
def test_a_terminal_obeys_nothing_of_it(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(title=text, caption=text)
    table.add_column(text)
    table.add_row(text)
    for screen in (Screen(), Screen(errors=True)):
        screen.say(f"  {text}")
        screen.print(table)
    complain(f"error: {text}")
    shown = "".join(capsys.readouterr())
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)


def test_a_screen_keeps_what_others_write(capsys: pytest.CaptureFixture[str]) -> None:
    texts = "naïve 東京 🙂 👩\u200d🚀 [red]:smile: [/nothing]\nשלום"
    Screen().say(texts)
    table = Table("[b]arm[/b]")
    table.add_row("[red]x [/]")
    Screen().print(table)
    out = capsys.readouterr().out
    assert texts in out
    assert "[b]arm[/b]" in out
    assert "[red]x [/]" in out


def test_every_command_prints_through_the_screen() -> None:
    """A console of its own, or a bare `print`, would be another exit."""
    package = Path(escaping.__file__).parents[1]
    own = re.compile(r"(?<![\w.])print\(|Console\(|std(err|out)\.write\(")
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(own.search(line) for line in path.read_text().splitlines() if not line.lstrip().startswith(("#", ">>>")))
    }
    # A fixed line, an example, names in quotes, and an example on an exported page.
    constants = {"store/signals.py", "api.py", "config/commands.py", "export/pages.py"}
    assert found <= {"store/screen.py", *constants}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "s")


def labelled(study: Path, label: str) -> Path:
    """The study with its control called so, in its note as well."""
    shown = study / "shown.json"
    record = json.loads(shown.read_text())
    for row in record["rows"]:
        row["label"] = label if row["label"].startswith("expert alone") else row["label"]
    record["notes"] = [label]
    shown.write_text(json.dumps(record))
    return study


@pytest.mark.parametrize("text", [*FORMULAS, 'a";=1+1'])
def test_results_csv_holds_no_formula_and_its_numbers_stay_numbers(study: Path, text: str) -> None:
    labelled(study, text)
    summary = next(study.glob("*/summary.json"))
    summary.write_text(summary.read_text().replace("{", '{"latency_overhead": -0.25, "=1+1": 2,', 1))
    data = to_csv(read_study(study)).decode()
    rows = list(csv.reader(io.StringIO(data, newline="")))
    plain = text.replace("'", "").replace("\r", "\n")
    assert any(plain in row[0].replace("'", "") for row in rows), "and nothing is lost of it"
    for cell in (cell for row in rows for cell in row):
        try:
            float(cell)
        except ValueError:
            assert not re.match(r"[\s\u200b\ufeff]*[=+\-@＝]", cell)
            assert not re.search(r"[;\t]\s*[=+\-@]", cell)
    assert any("-0.25" in row for row in rows)


@pytest.mark.parametrize(
    ("label", "cell"),
    [
        ("[2cm] x", "{[}2cm{]} x"),
        ("*x", "{*}x"),
        ("two\nlines\n\nmore", "two lines more"),
        ("a\x1bb\u202ec", "a?b?c"),
        ("\\input{x} %$#_&~^", r"\textbackslash{}input\{x\} \%\$\#\_\&\textasciitilde{}\textasciicircum{}"),
        ('"a "`', r"\textquotedbl{}a \textquotedbl{}\textasciigrave{}"),
    ],
)
def test_results_tex_is_a_row_a_line_whatever_a_label_holds(study: Path, label: str, cell: str) -> None:
    plain = to_latex(read_study(study)).decode().splitlines()
    lines = to_latex(read_study(labelled(study, label))).decode().splitlines()
    assert len(lines) == len(plain)
    assert any(line.startswith(f"{cell} &") for line in lines)
    assert not any(line.lstrip().startswith(("[", "*")) for line in lines)


@pytest.mark.parametrize("text", ["a|b\nc", "<img src=x onerror=alert(1)>", "![x](http://y)", "`a`", "_a_ *b*", "# a"])
def test_markdown_reads_none_of_it(study: Path, text: str) -> None:
    found = read_study(labelled(study, text))
    for page in (markdown_table(found.rows, found.notes), to_markdown(found, []).decode()):
        assert not re.search(r"(?<!\\)[<`*](?=img|a|b)|(?<!\\)!\[x|^# a|(?<![\\\w])_a", page, re.MULTILINE)
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in page.splitlines() if line.startswith("|")}
        assert len(bars) <= 2, "every table has as many cells a row as its heading"
