"""The schema of `conf/score.yaml`: which texts are scored, and how; checked once, at the door."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from cdeval.config.fields import TextForm, When, check_values, number, only, read_when, text
from cdeval.config.schema import MOST_SEED, ExpertConfig, MetricsConfig, ProtocolConfig
from cdeval.config.showing import ShowsResults
from cdeval.config.validation import require_stored, validate_study_name
from cdeval.errors import ConfigError


@dataclass
class FieldsConfig:
    """The names of fields in texts of others; those that are left out are recognised.

    A field inside of another is named by the way to it, with dots: doc.question, choices.0.text.
    """

    prompt: str | None = None  # name of the field with the prompt
    continuation: str | None = None  # of the text that is scored
    reference: str | None = None  # of the human continuation
    id: str | None = None  # of the prompt's id
    prompts_from: str | None = None  # a file with the prompts of texts that lie without them, in their order
    prompt_in_text: bool | None = None  # true: cut the prompt off the texts that begin with it; null: by the format


class Export(Enum):
    """The file that the score command writes instead of scores."""

    none = "none"
    pairs = "pairs"


_VOTES = When("votes", bool, "add votes=<what people said>")
_NO_VOTES = When("votes", lambda votes: not votes, "leave votes= out")
_NO_EXPORT = When("export", lambda export: export is Export.none, "leave export= out")


QUESTION = "Which continuation is better: more coherent, and more like a person wrote it?"


@dataclass
class PairsConfig:
    """The pairs that people judge, for `export=pairs`, and how their votes are read."""

    # Prompts, drawn by the seed; null: all that both arms continue.
    limit: int | None = number(100, least=1, most=100_000_000, hint="null is all of them")
    # What people are asked.
    question: str = text(QUESTION, TextForm.prose)


@dataclass
class ScoreConfig(ShowsResults):
    """The texts that are scored, and how: the root of `conf/score.yaml`."""

    # A file, a run folder or a folder of them, or a list of these: each file is an arm.
    generations: Any = text(None, TextForm.lines)
    labels: list[str] = read_when(_NO_VOTES, factory=list, label=True)  # one an arm; empty: what tells the paths apart
    # Label of the arm that the others are compared with; null: the first.
    against: str | None = read_when(_NO_VOTES, _NO_EXPORT, default=None, label=True)
    fields: FieldsConfig = read_when(_NO_VOTES, factory=FieldsConfig)
    # The model that reads the texts.
    expert: ExpertConfig = read_when(_NO_VOTES, _NO_EXPORT, factory=ExpertConfig)
    metrics: MetricsConfig = read_when(_NO_EXPORT, factory=MetricsConfig)
    protocol: ProtocolConfig = read_when(_NO_VOTES, _NO_EXPORT, factory=ProtocolConfig)
    export: Export = Export.none
    pairs: PairsConfig = read_when(only("export", Export.pairs), factory=PairsConfig)
    votes: Any = text(None, TextForm.lines)  # a file of votes, or a list of them: what people said of exported pairs
    key: str | None = read_when(_VOTES, default=None)  # of the exported pairs, for the votes
    study: str = "scores"  # results go to <runs>/<study>/
    runs: str = "runs"  # folder of all studies
    out: str | None = None  # results go there instead
    seed: int = number(0, least=0, most=MOST_SEED)  # of resamples, k-means and the pairs' order


def validate_score(config: ScoreConfig) -> ScoreConfig:
    """Validate the score command's settings as `validate` does a study's; single paths become lists of one.

    Raises: ConfigError: names the setting, what was given and what was expected.
    """
    check_values(config)
    require_stored(config.expert, "cdeval.score")
    config.generations = paths_of("generations", config.generations)
    config.votes = paths_of("votes", config.votes)
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


def paths_of(setting: str, value: object) -> list[str]:
    """One path or several as a list of them. Raises: ConfigError: it is neither."""
    given = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(path, str | int) and path != "" for path in given):
        raise ConfigError(f"{setting}={value!r}: expected a path, or a list of paths as {setting}=[a,b].")
    return [str(path) for path in given]  # a file may be called 1
