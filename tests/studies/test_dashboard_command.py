"""The dashboard: specifications built and checked without a network, and what is said where there is none."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cdeval.report.tracking import views
from tests.report.studies import write_study

reports = pytest.importorskip("wandb_workspaces.reports.v2.internal", reason="needs the extra [dashboard]")
workspaces = pytest.importorskip("wandb_workspaces.workspaces.internal", reason="needs the extra [dashboard]")

Typed = Callable[[str, Sequence[str]], str]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    folder = write_study(tmp_path / "layers", layers=(4, 8, 12))
    (folder / "figures").mkdir()
    (folder / "figures" / "pareto.png").touch()
    return folder


def test_dry_writes_what_w_and_b_would_get(study: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    def network(*_: object) -> None:
        raise AssertionError("--dry asks no server")

    monkeypatch.setattr("socket.getaddrinfo", network)
    printed = typed("dashboard", [f"study={study}", "dry=true", "entity=team"])
    assert "scatter: diversity ↑ × exit after block" in printed
    written = {name: json.loads((study / "dashboard" / f"{name}.json").read_text()) for name in ("workspace", "report")}
    view, report = (
        workspaces.View.model_validate(written["workspace"]),
        reports.ReportViewspec.model_validate(written["report"]),
    )
    assert (view.entity, view.project, view.display_name) == ("team", "cdeval", "cdeval layers")
    assert report.display_name == "cdeval layers"
    sections = written["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    axes = {(panel["config"].get("xAxis"), panel["config"].get("yAxis")) for one in sections for panel in one["panels"]}
    assert ("summary:flops_per_token", "summary:diversity") in axes
    assert any(x and x.startswith("config:amateur.value.layer") for x, _ in axes)
    panels = [panel for one in sections for panel in one["panels"]]
    (parallel,) = (panel for panel in panels if panel["viewType"] == "Parallel Coordinates Plot")
    columns = {column["accessor"] for column in parallel["config"]["columns"]}
    settings = {"config:amateur.value.layer", "config:contrast.value.alpha", "config:contrast.value.temperature"}
    measured = {f"summary:{name}" for name in ("diversity", "mauve", "coherence", "flops_per_token")}
    assert settings | measured <= columns
    text = json.dumps(written["report"])
    for word in ("figures/pareto", "continuations", "comparisons", "early_exit k=12", "summary:memory_bytes"):
        assert word in text, word


def test_what_does_not_survive_its_own_format_is_a_bug(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = views.workspace_of(views._views(study), "", "p")
    monkeypatch.setattr(views, "_shown", lambda view: [str(id(view))])
    with pytest.raises(ValueError, match="does not survive"):
        views.spec_of(found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "study= has no value"),
        (["study=/nowhere"], "/nowhere"),
        (["STUDY"], "--dry needs neither"),
    ],
)
def test_mistakes_are_one_line(
    study: Path,
    refused: Typed,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    def unreachable() -> None:
        raise OSError("no network")

    monkeypatch.setattr(views, "reach_server", unreachable)
    assert message in refused("dashboard", [one.replace("STUDY", f"study={study}") for one in arguments])


def test_without_the_extra_it_says_what_to_install(
    study: Path, refused: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    assert "cdeval[dashboard]" in refused("dashboard", [f"study={study}", "dry=true"])
