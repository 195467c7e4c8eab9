"""The schema of `conf/export.yaml`: one setting, and the folder that it is written to."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cdeval.config.enums import Context, SearchKind, Tracker
from cdeval.config.fields import When, check_values, expand_paths, read_when
from cdeval.config.methods import extended
from cdeval.config.schema import (
    CALIBRATED,
    AmateurConfig,
    ContrastConfig,
    ExpertConfig,
    PromptsConfig,
    RunConfig,
    SearchConfig,
)
from cdeval.config.token_weight import Gate
from cdeval.config.tracking import TrackingConfig
from cdeval.config.validation import require_stored, validate
from cdeval.errors import ConfigError
from cdeval.report.reading import settings_of

_SEARCHES = (SearchKind.beam, SearchKind.greedy, SearchKind.sample)
_TYPED = When("point", lambda point: point is None, "leave point out, whose setting is exported whole")


@dataclass
class ExportRun(RunConfig):
    """The root of `conf/export.yaml`; the other settings are those of a study."""

    expert: ExpertConfig = read_when(_TYPED, factory=ExpertConfig)
    amateur: AmateurConfig = read_when(_TYPED, factory=AmateurConfig)
    contrast: ContrastConfig = read_when(_TYPED, factory=ContrastConfig)
    search: SearchConfig = read_when(_TYPED, factory=SearchConfig)
    prompts: PromptsConfig = read_when(_TYPED, factory=PromptsConfig)
    tracking: TrackingConfig = field(default_factory=lambda: TrackingConfig(kind=Tracker.none))
    point: str | None = None  # run folder of an arm of a study, in place of the settings of one
    out: str | None = None  # the folder that is written


def validate_export(config: ExportRun) -> ExportRun:
    """Check what needs no model; returns the same object.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_values(config)
    if config.out is None:
        raise ConfigError("out has no value: give the folder that is to be written, as out=exported/early_exit.")
    if config.point is None:
        check_exportable(as_run(config))
    return config


def as_run(config: ExportRun) -> RunConfig:
    """The setting as a study has it. Raises: ConfigError, StorageError: it is out of range, or no point of a study."""
    if config.point is not None:
        return _of_point(Path(config.point).expanduser())
    root = extended(RunConfig)
    return validate(root(**{one.name: getattr(config, one.name) for one in fields(root)}))


def check_exportable(config: RunConfig) -> None:
    """Check that `generate` can have the setting. Raises: ConfigError: something of it stays behind."""
    require_stored(config.expert, "cdeval.export")
    search, amateur, contrast = config.search, config.amateur, config.contrast
    wrong = [
        (config.plugins, f"plugins={config.plugins}", "code of yours is not copied"),
        (search.kind not in _SEARCHES, f"search={search.kind.name}", "expected beam, greedy or sample"),
        (search.adaptive_exit.threshold is not None, "search.adaptive_exit", "the expert's own exits are a study's"),
        (contrast.gate is Gate.callable, "contrast.gate=callable", "code of yours is not copied"),
        (contrast.temperature == CALIBRATED, "contrast.temperature=calibrated", "give the number that a study found"),
        (amateur.context is Context.removed, "amateur.context=removed", "prompts of generate have no context apart"),
        (
            amateur.kind == "model" and amateur.context is not Context.full,
            f"amateur=model with amateur.context={amateur.context.name}",
            "a second model reads whole prompts there; use amateur=truncated",
        ),
    ]
    for is_so, setting, reason in wrong:
        if is_so:
            raise ConfigError(f"{setting} cannot be exported: {reason}.")


def _of_point(folder: Path) -> RunConfig:
    """The setting of a run folder. Raises: ConfigError: it has none that can be read."""
    found = settings_of(folder / "config.yaml")
    point = found.pop("point", {})
    if point.get("role") != "arm":
        raise ConfigError(
            f"point={folder}: expected the run folder of an arm of a study, as runs/<study>/<arm>, with config.yaml."
        )
    root = extended(RunConfig)
    try:
        config = cast("RunConfig", OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(root), found)))
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"point={folder}: config.yaml is of another cdeval, or of plug-ins that are not loaded "
            f"({str(error).splitlines()[0]})."
        ) from error
    expand_paths(config)
    if config.contrast.temperature == CALIBRATED:
        config.contrast.temperature = point["setting"]["temperature"]
    check_exportable(config)
    return validate(config)
