"""Text that is typed reaches the settings to the letter, and Hydra's grammar stays where it is wanted."""

import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cdeval.cli import Schema, run_command, run_schema
from cdeval.config.fields import leaves
from cdeval.config.letters import as_meant
from cdeval.config.schema import RunConfig
from cdeval.report.config import ReportRun, validate_report
from cdeval.score.config import ScoreConfig, validate_score
from cdeval.trace.config import TraceRun

RUN, SCORE = leaves(RunConfig), leaves(ScoreConfig)
LETTERS = [
    "1.10", "2024_06_01", "true", "no", "1e3", "0x10", "1.", "-0", "+5", "1_0", "inf", "nan", "[a]", "{a: 1}", "a#b",
    "é", "中文", "theirs (1)", "lr=0.1", "100%", "it's", 'a"b', "a b", " a", "a:b", "a;b&c", "~x", "x|y", "ä\u0301",
    "back\\slash", "ends\\", "${seed", "choice", "a(b", "[x].jsonl", "!", "a,b)", "a*?", "'", "''a", "True", "1,2}",
]  # fmt: skip


def one(argument: str) -> object:
    override = OverridesParser.create().parse_override(argument)
    assert not override.is_sweep_override(), argument
    return override.value()


@pytest.mark.parametrize("text", [text for text in LETTERS if "," not in text])
def test_text_is_read_to_the_letter(text: str) -> None:
    assert str(one(as_meant(f"prompts.path={text}", RUN))) == text
    assert str(one(as_meant(f"+study={text}", RUN))) == text
    if not text.endswith("\\"):  # before a comma that is Hydra's way of saying that the comma is a letter
        assert [str(each) for each in one(as_meant(f"labels=[{text},x]", SCORE))] == [text.strip(), "x"]  # type: ignore[attr-defined]


def test_a_prompt_is_prose_with_its_commas() -> None:
    trace = leaves(TraceRun)
    for text in [*LETTERS, "a, b", "choice(a,b)", r"\'", "Hello,\nworld", "12", "{x: [1]}"]:
        assert str(one(as_meant(f"prompt={text}", trace))) == text


@pytest.mark.parametrize(
    ("typed", "points"),
    [
        ("study=a,1.10", ["a", "1.10"]),
        ("study=1e3, é", ["1e3", "é"]),
        ("study='a','b,c'", ["a", "b,c"]),
        ("study=choice(1.10,true)", ["1.10", "true"]),
        ("study=x(1,2),y", ["x(1,2)", "y"]),
    ],
)
def test_a_sweep_stays_a_sweep(typed: str, points: list[str]) -> None:
    override = OverridesParser.create().parse_override(as_meant(typed, RUN))
    assert override.is_sweep_override()
    assert [getattr(value, "text", value) for value in override.sweep_iterator()] == points  # type: ignore[arg-type]


def test_lists_and_sweeps_of_lists() -> None:
    assert [str(path) for path in one(as_meant("generations=[a (1).jsonl, 'b,c',${runs}/x]", SCORE))] == [  # type: ignore[attr-defined]
        "a (1).jsonl",
        "b,c",
        "${runs}/x",
    ]
    override = OverridesParser.create().parse_override(as_meant("labels=[0.10,0.1],[a,b]", SCORE))
    assert override.is_sweep_override()
    assert one(as_meant("labels=[]", SCORE)) == []


OTHERS = [
    "seed=1",
    "amateur.layer=[1,2]",
    "study='1.10'",
    'study="a,b"',
    "prompts.path=null",
    "study=",
    "--help",
    "expert=gpt2",
    "+sweep=layers",
    "hydra.run.dir=é",
    "contrast.alpha=0.1,0.3",
    "prompts.path=a\\,b",
]


@pytest.mark.parametrize("argument", OTHERS)
def test_other_arguments_stay_as_they_are(argument: str) -> None:
    assert as_meant(argument, RUN) == argument


def test_a_file_whose_name_holds_a_comma_is_one(tmp_path: Path) -> None:
    (tmp_path / "a,b.jsonl").touch()
    assert str(one(as_meant(f"prompts.path={tmp_path}/a,b.jsonl", RUN))) == f"{tmp_path}/a,b.jsonl"
    assert as_meant(f"prompts.path={tmp_path}/a,c.jsonl", RUN).count("'") == 4


def composed(
    command: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[object] | str:
    """What a command would do, or its message."""
    found: list[object] = []
    monkeypatch.setattr(sys, "argv", [f"cdeval.{command}", *arguments])
    with suppress(SystemExit):
        if command == "run":
            run_command(lambda configs: found.extend(configs) or [])  # type: ignore[func-returns-value]
        elif command == "score":
            run_schema(found.append, Schema(ScoreConfig, validate_score), command)
        else:
            run_schema(found.append, Schema(ReportRun, validate_report), command)
    return found or capsys.readouterr().err


@pytest.mark.usefixtures("nobodys_files")
def test_the_commands_read_letters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (config,) = composed(
        "run", ["study=1.10", "runs=é (1)#", "prompts=file", "prompts.path=2024_06_01"], monkeypatch, capsys
    )
    assert (config.study, config.runs, config.prompts.path) == ("1.10", "é (1)#", "2024_06_01")  # type: ignore[attr-defined]
    two = composed("run", ["study=1.10,true", "--multirun"], monkeypatch, capsys)
    assert [config.study for config in two] == ["1.10", "true"]  # type: ignore[union-attr, attr-defined]
    (scored,) = composed("score", ["generations=[lr=0.1.jsonl,中文.jsonl]", "labels=[0.10,0.1]"], monkeypatch, capsys)
    assert (scored.generations, scored.labels) == (["lr=0.1.jsonl", "中文.jsonl"], ["0.10", "0.1"])  # type: ignore[attr-defined]
    (report,) = composed("report", ["study=[runs/1.10,runs/a b]"], monkeypatch, capsys)
    assert report.study == ["runs/1.10", "runs/a b"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("line", ["study: 1.10", "study: yes", "runs: 2024_06_01", "study: 0x10", "study: 1:30"])
def test_a_number_in_a_users_yaml_is_refused_where_text_is_meant(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """YAML has lost the letters by then."""
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.yaml").write_text(f"# @package _global_\n{line}\n")
    message = composed("run", [f"--config-dir={tmp_path}", "+preset=mine"], monkeypatch, capsys)
    assert isinstance(message, str)
    assert "mine.yaml" in message
    assert "write it in quotes" in message
    name, _, value = line.partition(": ")
    (tmp_path / "preset" / "mine.yaml").write_text(f"# @package _global_\n{name}: '{value}'\n")
    (config,) = composed("run", [f"--config-dir={tmp_path}", "+preset=mine"], monkeypatch, capsys)
    assert getattr(config, name) == value


def test_a_number_among_a_users_sweep_parameters_is_refused_where_text_is_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "sweep").mkdir()
    text = "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      study: {}\n"
    (tmp_path / "sweep" / "mine.yaml").write_text(text.format("1.10,1.20"))
    message = composed("run", [f"--config-dir={tmp_path}", "+sweep=mine"], monkeypatch, capsys)
    assert "study is text" in message  # type: ignore[operator]
