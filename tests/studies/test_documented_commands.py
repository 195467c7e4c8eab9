"""Every command line in README and docs is one that its command takes: composed and checked, up to the first model."""

import re
import shlex
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cdeval.calibrate.config import CalibrateRun, validate_calibration
from cdeval.cli import Schema, run_command, run_schema
from cdeval.compare import CompareRun, validate_compare
from cdeval.config.metrics import METRICS
from cdeval.config.paths import CONF
from cdeval.dashboard import DashboardRun, validate_dashboard
from cdeval.export.config import ExportRun, validate_export
from cdeval.judge.config import JudgeRun, validate_judge
from cdeval.lens.config import LensRun, validate_lens
from cdeval.merge import MergeConfig, validate_merge
from cdeval.models.loading import LanguageModel
from cdeval.price.config import PriceRun, validate_price
from cdeval.report.config import ReportRun, validate_report
from cdeval.score.config import ScoreConfig, validate_score
from cdeval.tasks.config import TasksRun, validate_tasks
from cdeval.trace.config import TraceRun, validate_trace
from cdeval.tune.config import TuneRun, validate_tune

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SCHEMAS: dict[str, Schema] = {
    "calibrate": Schema(CalibrateRun, validate_calibration),
    "compare": Schema(CompareRun, validate_compare),
    "dashboard": Schema(DashboardRun, validate_dashboard),
    "export": Schema(ExportRun, validate_export),
    "judge": Schema(JudgeRun, validate_judge),
    "lens": Schema(LensRun, validate_lens),
    "merge": Schema(MergeConfig, validate_merge),
    "price": Schema(PriceRun, validate_price),
    "report": Schema(ReportRun, validate_report),
    "score": Schema(ScoreConfig, validate_score),
    "trace": Schema(TraceRun, validate_trace),
    "tasks": Schema(TasksRun, validate_tasks, composes=True),
    "tune": Schema(TuneRun, validate_tune, composes=True),
}
# Launchers are other people's, and have tests of their own; the name of a study is checked once.
LEFT_OUT = ("hydra/launcher=", "hydra.launcher.", "study=grid", "study=all")


def lines() -> list[tuple[str, str]]:
    """(page, command) of every command in a block of code, without what follows a #, or in a sentence."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for line in re.findall(r"^ {4,}(\S.*)$", text, re.MULTILINE):  # deeper ones stand in lists
            found += [(page.name, part.strip()) for part in re.split(r"\s#\s", line)[0].split("&&")]
        found += [(page.name, line) for line in re.findall(r"`(python -m cdeval\.\w+ [^`<]+)`", text)]
    return found


def cdeval_commands() -> dict[str, tuple[str, list[str]]]:
    """Each one once: (command, arguments) by page and text.

    A small sweep stands for the grid, and the ends of a list of numbers for what lies between them: a product of whole
    lists is many points of one kind.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    seen = set()
    for page, text in lines():
        match = re.match(r"(?:CUDA_VISIBLE_DEVICES=\S+ |time )?python -m cdeval\.(\w+)((?: .*)?)$", text)
        if match is None:
            continue
        arguments = [one for one in shlex.split(match[2]) if not one.startswith(LEFT_OUT)]
        arguments = ["+sweep=alpha" if one == "+sweep=grid" else one for one in arguments]
        arguments = [re.sub(r"^([\w.]+=[\d.]+)(?:,[\d.]+)+(,[\d.]+)$", r"\1\2", one) for one in arguments]
        key = (match[1], *arguments)
        if key not in seen:
            seen.add(key)
            found[f"{page}: {text}"] = (match[1], arguments)
    return found


COMMANDS = cdeval_commands()
# A score of points each: `test_bundles.py` composes these sweeps in every run, and other lines have their settings.
LONG = ("+sweep=arms", "+sweep=plausibility", "+sweep=study")
LINES = [
    pytest.param(line, marks=pytest.mark.nightly) if set(LONG) & set(arguments) else line
    for line, (_, arguments) in COMMANDS.items()
]


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 30
    assert {command for command, _ in COMMANDS.values()} >= {"run", "lens", "trace", "dashboard", "merge"}


@pytest.fixture
def composed(nobodys_files: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, list[str]], int]:
    """How many points a command line comes to; it exits with 2 where it is mistaken."""

    def compose(command: str, arguments: list[str]) -> int:
        points: list[object] = []
        arguments = ["dry=true" if one == "--dry" else one for one in arguments]
        # The lines are typed in the project's folder, and composed in an empty one.
        arguments = [str(ROOT / one) if one.startswith("docs/") else one for one in arguments]
        monkeypatch.setattr(sys, "argv", [f"cdeval.{command}", *arguments])
        monkeypatch.chdir(tmp_path)
        if command == "run":

            def keep(configs: object) -> list[Exception]:
                points.extend(configs)  # type: ignore[arg-type]
                return []

            run_command(keep)  # type: ignore[arg-type]
        else:
            run_schema(points.append, SCHEMAS[command], command)
        return len(points)

    return compose


@pytest.mark.recipe
@pytest.mark.parametrize("line", LINES)
def test_a_documented_command_is_right(line: str, composed: Callable[[str, list[str]], int]) -> None:
    command, arguments = COMMANDS[line]
    if command == "bench":  # checks its machine first, and has tests of its own
        return
    assert composed(command, arguments) >= 1


def test_a_misspelt_one_would_be_found(composed: Callable[[str, list[str]], int]) -> None:
    for command, argument in (("run", "contrast.alhpa=0.1"), ("run", "+sweep=layer"), ("lens", "train=ture")):
        with pytest.raises(SystemExit):
            composed(command, [argument])


def test_an_agent_of_the_example_sweep_types_one_right_point(composed: Callable[[str, list[str]], int]) -> None:
    """The command as `wandb agent` puts it together, with the parameters' first values."""
    sweep = yaml.safe_load((CONF / "wandb" / "sweep.yaml").read_text("utf-8"))
    points = {name: one["values"][0] if "values" in one else one["min"] for name, one in sweep["parameters"].items()}
    assert set(points) == {"amateur.layer", "contrast.alpha", "contrast.temperature"}
    typed = [one for one in sweep["command"] if one != "${args_no_hyphens}"]
    assert typed[:4] == ["${env}", "python", "-m", "cdeval.run"]
    assert composed("run", [*typed[4:], *(f"{name}={value}" for name, value in points.items())]) == 1
    assert METRICS[sweep["metric"]["name"]].better.way == 1, "as the goal says"


def test_other_commands_name_what_there_is() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for page, text in lines():
        for extra in re.findall(r'"\.\[(.+?)\]"', text):
            assert set(extra.split(",")) <= set(extras), f"{page}: {text}"


def test_the_files_that_pages_name_are_there() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        for path in re.findall(r"\b(?:tests|docs|examples|scripts|cdeval)/[\w./-]+?\.(?:py|md|ipynb)\b", text):
            assert (ROOT / path).is_file(), f"{page.name}: {path}"


def test_the_python_of_readme_runs(
    tiny: Callable[[str], LanguageModel], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a tiny model, and through the final norm: a linear lens is fitted to texts from the network."""
    (code,) = re.findall(r"^```python\n(.+?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(code.splitlines()) <= 12
    monkeypatch.setattr("cdeval.api.load", lambda: tiny("gpt2"))
    exec(code.replace("amateur=0.87", 'amateur=0.87, lens="norm"').replace("=64", "=6"), {})  # noqa: S102 - it is ours
    assert "diversity" in capsys.readouterr().out
