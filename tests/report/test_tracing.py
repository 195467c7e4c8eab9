"""The command beside a text is one that its command takes, and asks for the setting that made the text."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from cdeval.cli import Schema, run_command, run_schema
from cdeval.config.fields import plain_values
from cdeval.config.points import Point, Role
from cdeval.config.schema import RunConfig
from cdeval.config.setting import canonical, expert_alone, setting_of
from cdeval.report.studyfiles import read_study
from cdeval.report.texts import side_by_side
from cdeval.report.tracing import hydra_value, link, overrides, tracer_of
from cdeval.trace.config import TraceRun, as_run, validate_trace
from tests.report.studies import write_study

ARMS = {
    "early_exit": ["+arm=early_exit", "amateur.layer=26", "contrast.beta=0.5", "search.max_new_tokens=32"],
    "nucleus": ["+arm=nucleus", "seed=3"],
    "ngram": ["+arm=ngram", "amateur.order=4", "prompts=wiki", "prompts.limit=8"],
    "exits": ["+arm=early_exit", "amateur.layer=12", "amateur.lens=norm", "search=greedy"],
    "context": ["+arm=cfg", "contrast.plausibility=alpha"],
    "seed": ["+arm=seed_exit"],
}


@pytest.fixture
def run_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[list[str]], RunConfig]:
    def compose(arguments: list[str]) -> RunConfig:
        found: list[RunConfig] = []
        monkeypatch.setattr(sys, "argv", ["cdeval.run", *arguments])
        monkeypatch.chdir(tmp_path)
        run_command(lambda configs: found.extend(configs) or [])  # type: ignore[func-returns-value]
        return found[0]

    return compose


def traced(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    found: list[TraceRun] = []
    monkeypatch.setattr(sys, "argv", ["cdeval.trace", "id=news-0001", *arguments])
    run_schema(found.append, Schema(TraceRun, validate_trace), "trace")
    return as_run(found[0])


def whole(config: RunConfig) -> RunConfig:
    """A layer in blocks, as a study that has opened its expert knows it."""
    if isinstance(config.amateur.layer, float):
        config.amateur.layer = round(30 * config.amateur.layer)
    return config


@pytest.mark.parametrize("arm", ARMS)
def test_the_command_asks_for_the_arms_setting(
    arm: str, run_of: Callable[[list[str]], RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = whole(run_of(ARMS[arm]))
    for setting in (setting_of(config), expert_alone(setting_of(config))):
        point = json.loads(json.dumps(Point(Role.arm, setting, "x", "0" * 8).facts()))
        again = whole(traced(overrides(plain_values(config), point["setting"]), monkeypatch))
        assert canonical(setting_of(again)) == canonical(setting)
        assert (again.expert, again.prompts.source) == (config.expert, config.prompts.source)
        assert again.prompts.limit is None, "the prompt is looked up among all"


def test_settings_that_are_no_settings_have_no_command(tmp_path: Path) -> None:
    arms = read_study(write_study(tmp_path / "s")).arms
    assert [tracer_of(arm) for arm in arms] == [None] * len(arms), "their config.yaml has a point alone"


def test_a_page_of_the_same_text_is_linked_and_another_one_is_not(
    tmp_path: Path, run_of: Callable[[list[str]], RunConfig]
) -> None:
    folder = write_study(tmp_path / "a study")
    own = folder / "exit-8" / "config.yaml"
    config = plain_values(run_of(["+arm=early_exit"]))
    own.write_text(yaml.safe_dump({**config, **yaml.safe_load(own.read_text())}))
    study = read_study(folder)
    arm = next(arm for arm in study.arms if arm.folder == "exit-8")
    tracer = tracer_of(arm)
    assert tracer is not None
    (command,) = [
        text["command"]
        for text in side_by_side(study, [tracer if a is arm else None for a in study.arms])[0]["texts"]
        if "command" in text
    ]
    name, out = shlex.split(command)
    assert name == "id=doc-0"
    assert out == f"out={hydra_value(str(folder / 'traces' / 'exit-8-doc-0.html'))}"
    page = tracer.page("doc-0")
    page.parent.mkdir()
    page.write_text("a page")
    page.with_suffix(".json").write_text(json.dumps({"continuation": arm.generations[0].continuation}))
    assert link(page, arm.generations[0].continuation, study) == "traces/exit-8-doc-0.html"
    assert link(page, "another text", study) == ""
    page.unlink()
    assert link(page, arm.generations[0].continuation, study) == ""


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "null"),
        (True, "true"),
        (0.5, "0.5"),
        ([1, "a b"], '[1,"a b"]'),
        ("null", '"null"'),
        ("1", '"1"'),
        ('a"', '"a\\""'),
    ],
)
def test_values_are_written_as_hydra_reads_them(value: object, written: str) -> None:
    assert hydra_value(value) == written
