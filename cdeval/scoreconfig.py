"""The schema of `conf/score.yaml`: which texts are scored, and how; checked once, at the door."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from cdeval.config import ExpertConfig, MetricsConfig, ProtocolConfig
from cdeval.errors import ConfigError
from cdeval.validation import check_ranges, require_stored, validate_study_name


@dataclass
class FieldsConfig:
    """How texts of others call their fields; what is left out is recognised."""

    prompt: str | None = None
    continuation: str | None = None
    reference: str | None = None
    id: str | None = None
    prompt_in_text: bool | None = None  # true: cut the prompt off the texts that begin with it; null: by the format


class Export(Enum):
    """What the score command writes instead of scores."""

    none = "none"
    pairs = "pairs"


@dataclass
class PairsConfig:
    """Which pairs people judge, for `export=pairs`, and how their votes are read."""

    limit: int | None = 100  # prompts, drawn by the seed; null: all that both arms continue
    question: str = "Which continuation is better: more coherent, and more like a person wrote it?"


@dataclass
class ScoreConfig:
    """What is scored and how: the root of `conf/score.yaml`."""

    generations: Any = None  # a file, a run folder or a folder of them, or a list of these: each file is an arm
    labels: list[str] = field(default_factory=list)  # one an arm; empty: what tells the paths apart
    against: str | None = None  # label of the arm that the others are compared with; null: the first
    fields: FieldsConfig = field(default_factory=FieldsConfig)
    expert: ExpertConfig = field(default_factory=ExpertConfig)  # the model that reads the texts
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    export: Export = Export.none
    pairs: PairsConfig = field(default_factory=PairsConfig)
    votes: Any = None  # a file of votes, or a list of them: what people said of exported pairs
    key: str | None = None  # of the exported pairs, for the votes
    study: str = "scores"  # results go to <runs>/<study>/
    runs: str = "runs"  # folder of all studies
    out: str | None = None  # results go there instead
    seed: int = 0  # of resamples, k-means and the pairs' order


def validate_score(config: ScoreConfig) -> ScoreConfig:
    """As `validate`, for the score command; single paths become lists of one.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_ranges(config, ("metrics", "seed"))
    require_stored(config.expert, "cdeval.score")
    if config.pairs.limit is not None and config.pairs.limit < 1:
        raise ConfigError(f"pairs.limit={config.pairs.limit} is out of range: expected at least 1, or null for all.")
    config.generations = _paths("generations", config.generations)
    config.votes = _paths("votes", config.votes)
    if config.votes:
        if config.key is None:
            raise ConfigError("votes= needs key=: the key file that export=pairs wrote, which says who wrote what.")
        if config.generations or config.export is not Export.none:
            raise ConfigError("votes= reads votes on pairs that exist: leave generations= and export= out.")
    elif not config.generations:
        raise ConfigError(
            "generations= has no value: give a JSON or JSONL file, a run folder, or several as generations=[a,b]; "
            "or votes= and key=."
        )
    validate_study_name("study", config.study)
    return config


def _paths(setting: str, value: object) -> list[str]:
    given = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(path, str | int) and path != "" for path in given):
        raise ConfigError(f"{setting}={value!r}: expected a path, or a list of paths as {setting}=[a,b].")
    return [str(path) for path in given]  # a file may be called 1
