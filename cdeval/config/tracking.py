"""The settings of whom a study is shown to beside its own files."""

from dataclasses import dataclass

from cdeval.config.enums import Tracker, WandbMode, Weights
from cdeval.config.fields import only, read_when, written_unless_default

_STORED = only("expert.weights", Weights.stored)
_ON_WANDB = only("tracking.kind", Tracker.wandb)
_TRACKED = only("tracking.kind", Tracker.wandb, Tracker.trackio)


@dataclass
class TrackingConfig:
    """Experiment tracking, a mirror of the run folder."""

    kind: Tracker = read_when(_STORED, default=Tracker.wandb)
    # null: WANDB_MODE, else online with live=true and under a sweep agent, else offline.
    mode: WandbMode | None = read_when(_STORED, _ON_WANDB, default=None)
    # Of the runs; null: WANDB_PROJECT, else cdeval.
    project: str | None = read_when(_STORED, _TRACKED, default=None)
    entity: str | None = read_when(_STORED, _ON_WANDB, default=None)  # of W&B; null: WANDB_ENTITY, else the key's own
    # Show the runs, and how far they are, from the first token on.
    live: bool = written_unless_default(_STORED, _TRACKED, default=False)
    # Of all runs, beside those of kind, search and prompts.
    tags: list[str] = written_unless_default(_STORED, _TRACKED, factory=list)
    quiet: bool = False  # the screen shows results and errors only, no progress
