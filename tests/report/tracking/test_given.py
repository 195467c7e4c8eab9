"""Where runs go: what is typed, else W&B's variables; and the run that a sweep agent has named."""

import os
from pathlib import Path

import pytest

from cdeval.config.enums import Tracker, WandbMode
from cdeval.config.tracking import TrackingConfig
from cdeval.errors import ConfigError
from cdeval.report.tracking import given
from cdeval.report.tracking.given import SweepRun, Target, check_target, owner_of, target_of


@pytest.fixture(autouse=True)
def _nobodys_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("typed", "variables", "online"),
    [
        ({}, {}, False),
        ({"live": True}, {}, True),
        ({}, {"WANDB_MODE": "online"}, True),
        ({"live": True}, {"WANDB_MODE": "offline"}, False),
        ({"live": True}, {"WANDB_MODE": "dryrun"}, False),
        ({"mode": WandbMode.offline, "live": True}, {"WANDB_MODE": "online"}, False),
        ({"mode": WandbMode.online}, {"WANDB_MODE": "offline"}, True),
        ({"mode": WandbMode.online}, {"WANDB_MODE": "disabled"}, True),
        ({}, {"WANDB_RUN_ID": "r"}, True),
        ({}, {"WANDB_RUN_ID": "r", "WANDB_MODE": "offline"}, False),
        ({}, {"WANDB_MODE": ""}, False),
    ],
)
def test_what_is_typed_comes_before_the_variables(
    monkeypatch: pytest.MonkeyPatch, typed: dict[str, object], variables: dict[str, str], online: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = target_of(TrackingConfig(**typed))  # type: ignore[arg-type]
    assert found is not None
    assert found.online is online


def test_project_and_entity_are_w_and_bs_own_where_nothing_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert owner_of(None, None) == (None, "cdeval")
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    assert target_of(TrackingConfig()) == Target(Tracker.wandb, online=False, project="theirs", entity="team")
    assert owner_of("me", "mine") == ("me", "mine")


def test_nobody_is_told_where_w_and_b_is_disabled_and_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert target_of(TrackingConfig()) is None
    assert target_of(TrackingConfig(kind=Tracker.none)) is None
    monkeypatch.setenv("WANDB_MODE", "onlien")
    with pytest.raises(ConfigError, match="WANDB_MODE=onlien: expected online, offline or disabled"):
        check_target(TrackingConfig(), 1)


def test_an_agents_run_has_its_names_and_the_sweeps_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("wandb_version: 1\namateur.layer:\n  value: 12\n")
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(path))
    found = target_of(TrackingConfig())
    assert found is not None
    assert found.arm == SweepRun("r1", "s1", {"amateur.layer": 12})
    path.write_text("- no mapping")
    assert target_of(TrackingConfig()).arm == SweepRun("r1", "s1", {})  # type: ignore[union-attr]


def test_an_agents_command_is_one_point(monkeypatch: pytest.MonkeyPatch) -> None:
    check_target(TrackingConfig(), 3)
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    check_target(TrackingConfig(), 1)
    check_target(TrackingConfig(kind=Tracker.none), 3)
    with pytest.raises(ConfigError, match=r"WANDB_SWEEP_ID=s1 names one run of W&B, and this command asks for 3"):
        check_target(TrackingConfig(), 3)


def test_without_trackio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"cdeval\[trackio\]"):
        check_target(TrackingConfig(kind=Tracker.trackio), 1)
