"""The schema of `conf/judge.yaml`: which pairs are judged, by whom, and what people said; checked once, at the door."""

import os
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from cdeval.config.fields import TextForm, check_values, number, only, read_when, text
from cdeval.config.metrics import METRICS
from cdeval.config.plugins import TakesPlugins
from cdeval.config.schema import MOST_SEED, ExpertConfig, MetricsConfig, ProtocolConfig
from cdeval.config.validation import require_stored, validate_study_name
from cdeval.errors import ConfigError
from cdeval.models.folder import find_folder
from cdeval.score.config import QUESTION, FieldsConfig, paths_of

LOOPBACK = frozenset({"localhost", "::1"})


class JudgeKind(Enum):
    """Who judges pairs.

    language_model: asked in words, both orders; the probabilities of its answers count. reward_model: a sequence
    classifier with one number a text, whose difference counts. server: a language model behind an address that speaks
    OpenAI's chat completions. none: nobody; metrics alone are compared with people.
    """

    language_model = "language_model"
    reward_model = "reward_model"
    server = "server"
    none = "none"


_ASKED = only("judge.by", JudgeKind.language_model, JudgeKind.server)
_SERVED = only("judge.by", JudgeKind.server)
_ANY = only("judge.by", JudgeKind.language_model, JudgeKind.reward_model, JudgeKind.server)


@dataclass
class JudgeConfig:
    """The judge of pairs, and what it is asked."""

    by: JudgeKind = JudgeKind.language_model
    # `expert`, a hub id, a folder, embedded:<name>; of a server: what the model is called there.
    model: str = read_when(_ANY, default="expert")
    url: str | None = read_when(_SERVED, default=None)  # address of a server, as http://127.0.0.1:8000/v1
    # Name of the environment variable that holds the server's key; null: it asks for none.
    key: str | None = read_when(_SERVED, default=None)
    question: str = text(QUESTION, TextForm.prose, when=(_ASKED,))  # what the judge is asked
    ties: bool = read_when(_ASKED, default=True)  # it may answer that both are equally good
    # A preference this close to 1/2 is a tie.
    tie_within: float = number(0.0, least=0, most=0.5, open_most=True, when=(_ANY,))
    timeout: float = number(60.0, least=1, most=3600, when=(_SERVED,))  # seconds that a server may take to answer


@dataclass
class CalibrationConfig:
    """Pairs that people have judged."""

    path: str | None = None  # a JSON file of pairs with people's votes
    limit: int | None = number(None, least=1, most=100_000_000, hint="null is all of them")  # pairs, the first ones
    metrics: bool = True  # also compare every metric of single texts with people


@dataclass
class JudgeRun(TakesPlugins):
    """The root of `conf/judge.yaml`."""

    # Files, run folders or folders of them, each an arm, as of `cdeval.score`; null: the pairs of people alone.
    generations: Any = text(None, TextForm.lines)
    labels: list[str] = read_when(factory=list, label=True)  # one an arm; empty: what tells the paths apart
    against: str | None = read_when(default=None, label=True)  # arm that the others are judged against; null: the first
    fields: FieldsConfig = field(default_factory=FieldsConfig)
    # Prompts of two arms, drawn by the seed; null: all that both continue.
    limit: int | None = number(100, least=1, most=100_000_000, hint="null is all of them")
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    expert: ExpertConfig = field(default_factory=ExpertConfig)  # the judge, and the model that reads for metrics
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    study: str = "judge"  # results go to <runs>/<study>/
    runs: str = "runs"  # folder of all studies
    seed: int = number(0, least=0, most=MOST_SEED)  # of the drawn prompts and of the resamples


def validate_judge(config: JudgeRun) -> JudgeRun:
    """Check what needs no model; returns the same object, single paths as lists of one.

    Raises: ConfigError: names the setting, what was given and what was expected. ModelError: there is no such folder.
    """
    check_values(config)
    require_stored(config.expert, "cdeval.judge")
    validate_study_name("study", config.study)
    for name in config.metrics.only:
        METRICS[name]
    config.generations = paths_of("generations", config.generations)
    by = config.judge.by
    if not config.generations and config.calibration.path is None:
        raise ConfigError(
            "there is nothing to judge: give the texts of two arms, as generations=[a.jsonl,b.jsonl], or pairs that "
            "people have judged, as calibration.path=pairs.json, or both."
        )
    if config.generations and by is JudgeKind.none:
        raise ConfigError(
            "judge.by=none judges no texts: leave generations= out to compare metrics with people, or give "
            "judge.by=language_model, reward_model or server."
        )
    if by is JudgeKind.none and not config.calibration.metrics:
        raise ConfigError("judge.by=none with calibration.metrics=false leaves nothing to do: leave one of them out.")
    if by is JudgeKind.server:
        _validate_server(config.judge)
    elif by is JudgeKind.reward_model and config.judge.model == "expert":
        raise ConfigError(
            "judge.by=reward_model needs judge.model: a folder or hub id of a sequence classifier with one number a "
            "text. The expert is a language model."
        )
    elif by is not JudgeKind.none and config.judge.model != "expert":
        find_folder(config.judge.model, "judge.model")
    return config


def key_of(judge: JudgeConfig) -> str | None:
    """The key of the server, from the environment. Raises: ConfigError: there is no such variable."""
    if judge.key is None:
        return None
    found = os.environ.get(judge.key, "")
    if not found:
        raise ConfigError(
            f"judge.key={judge.key} names no environment variable with a key in it. Set one, as "
            f"`export {judge.key}=...`, and give its name, never the key itself; leave judge.key out where the server "
            "asks for none."
        )
    return found


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return host in LOOPBACK or ip_address(host).is_loopback
    except ValueError:
        return False


def _validate_server(judge: JudgeConfig) -> None:
    if judge.url is None:
        raise ConfigError("judge.by=server needs judge.url: an address such as http://127.0.0.1:8000/v1.")
    parts = _parts(judge.url)
    # Whatever stands before an @ is a password, which must not be shown either.
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigError(
            "judge.url is no address that is asked: expected http:// or https://, a host and a path, without a name or "
            "password, as http://127.0.0.1:8000/v1. A key is given by judge.key."
        )
    if parts.query or parts.fragment:
        raise ConfigError("judge.url ends with its path, as in http://127.0.0.1:8000/v1: leave ? and # out.")
    if judge.model == "expert":
        raise ConfigError("judge.by=server needs judge.model: what the model is called there.")
    if key_of(judge) is not None and parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigError(
            f"judge.key with judge.url={judge.url}: a key is sent to other machines over https alone, since anybody on "
            "the way reads http. Give an https address, or leave judge.key out."
        )


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # it raises where it is no number
    except ValueError:
        return None
    return parts
