"""Where the runs of a command go: what was typed, else W&B's own variables, else W&B on this machine alone.

`wandb agent` starts a command for one point of a sweep and names that point's run in WANDB_RUN_ID and WANDB_SWEEP_ID.
The run of the command's one arm then is that run; its control, the human texts and the study keep runs of their own.
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cdeval.assets.extras import how_to_install
from cdeval.config.enums import Tracker, WandbMode
from cdeval.config.tracking import TrackingConfig
from cdeval.errors import ConfigError

PROJECT = "cdeval"  # where neither a setting nor WANDB_PROJECT names one
_MODES = {
    "online": WandbMode.online,
    "run": WandbMode.online,
    "offline": WandbMode.offline,
    "dryrun": WandbMode.offline,
}


class SweepRun(NamedTuple):
    """The run that a sweep agent has named."""

    run_id: str
    sweep_id: str | None = None
    parameters: Mapping[str, Any] = {}  # of the point, under the names that the sweep has for them


class Target(NamedTuple):
    """Where runs go."""

    kind: Tracker
    online: bool
    project: str
    entity: str | None = None
    arm: SweepRun | None = None  # of the command's one arm; None: every run has a name of cdeval's


def target_of(config: TrackingConfig) -> Target | None:
    """Read where the runs of a command go. Returns: None: nobody is to be told.

    Raises: ConfigError: WANDB_MODE is none that W&B has, or trackio is not installed.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith("WANDB_") and value}
    entity, project = owner_of(config.entity, config.project)
    if config.kind is Tracker.none:
        return None
    if config.kind is Tracker.trackio:
        if find_spec("trackio") is None:
            raise ConfigError(f"tracking=trackio needs trackio, which is not installed: {how_to_install('trackio')}.")
        return Target(Tracker.trackio, online=False, project=project)
    arm = _sweep_run(given)
    mode = config.mode
    if mode is None and (named := given.get("WANDB_MODE")) is not None:
        if named == "disabled":
            return None
        mode = _MODES.get(named)
        if mode is None:
            raise ConfigError(
                f"WANDB_MODE={named}: expected online, offline or disabled. tracking.mode= is read before it, "
                "tracking=none asks nothing of W&B."
            )
    if mode is None:
        mode = WandbMode.online if config.live or arm is not None else WandbMode.offline
    return Target(
        Tracker.wandb,
        online=mode is WandbMode.online,
        project=project,
        entity=entity,
        arm=arm,
    )


def owner_of(entity: str | None, project: str | None) -> tuple[str | None, str]:
    """Find whose runs they are, and of which project: what was typed, else W&B's variables; None: the key's owner."""
    given = os.environ
    return entity or given.get("WANDB_ENTITY") or None, project or given.get("WANDB_PROJECT") or PROJECT


def check_target(config: TrackingConfig, points: int) -> None:
    """Check what can be known of a command's tracking before any model is opened.

    Raises: ConfigError: as `target_of`; or a sweep agent has named one run, and the command asks for several settings.
    """
    target_of(config)
    name = "WANDB_SWEEP_ID" if os.environ.get("WANDB_SWEEP_ID") else "WANDB_RUN_ID"
    given = os.environ.get(name)
    if given and config.kind is Tracker.wandb and points > 1:
        raise ConfigError(
            f"{name}={given} names one run of W&B, and this command asks for {points} settings: expected one. "
            "Under `wandb agent` the sweep varies the settings, one a command: leave +sweep=, +arm=[…] and lists of "
            "values out. Without an agent: unset WANDB_RUN_ID and WANDB_SWEEP_ID."
        )


def _sweep_run(given: Mapping[str, str]) -> SweepRun | None:
    run, sweep = given.get("WANDB_RUN_ID"), given.get("WANDB_SWEEP_ID")
    if run is None:
        return None
    return SweepRun(run, sweep, _parameters(given.get("WANDB_SWEEP_PARAM_PATH")) if sweep else {})


def _parameters(path: str | None) -> dict[str, Any]:
    """Read what the agent wrote down of the point; a file that is not there or is none of its kind says nothing."""
    try:
        found = yaml.safe_load(Path(path or "").read_text("utf-8"))
        return {str(name): one["value"] for name, one in found.items() if isinstance(one, dict) and "value" in one}
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return {}
