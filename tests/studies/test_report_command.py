"""`python -m cdeval.report` as a user types it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cdeval.config.fields import plain_values
from cdeval.config.schema import ExpertConfig, RunConfig
from cdeval.errors import ConfigError
from cdeval.report.config import ReportRun, validate_report
from tests.report.studies import write_study


def report(cwd: Path, *arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python, "-m", "cdeval.report", *arguments]
    return subprocess.run(command, cwd=cwd, env=os.environ, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.long
def test_several_studies_on_one_page_without_torch(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_study(tmp_path / "runs" / name)
    own = tmp_path / "runs" / "a" / "exit-4" / "config.yaml"
    config = plain_values(RunConfig(expert=ExpertConfig("embedded:smollm2")))
    own.write_text(yaml.safe_dump({**config, **yaml.safe_load(own.read_text())}))
    done = report(tmp_path, "study=[runs/a,b]", python=("-X", "importtime"))
    assert done.returncode == 0, done.stderr
    pages = [line for line in done.stdout.splitlines() if line.endswith(".html")]
    assert pages == ["runs/a+b/report.html"]
    assert done.stdout.count("is more diverse") == 1, "one verdict"
    page = (tmp_path / pages[0]).read_text(encoding="utf-8")
    for name in ("a", "b"):
        assert f"early_exit k=4 α=0.1 β=1 T=1, beam 5 [{name}]" in page
    assert '"command":"id=doc-0 out=runs/a/traces/exit-4-doc-0.html"' in page, "settings are read without torch, too"
    assert "| torch\n" not in done.stderr, "a report needs no model: torch takes seconds"


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = report(tmp_path, "study=runs/nothing")
    assert done.returncode == 2
    assert "error: study=runs/nothing: there is no such folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("study", [None, [], "", [3.5]])
def test_something_that_is_no_folder_is_refused(study: object) -> None:
    with pytest.raises(ConfigError, match=r"study=.*(expected a folder|give a study's folder|is empty: expected text)"):
        validate_report(ReportRun(study))
