"""Open the models and prompts that a study needs. A setting that cannot be opened fails alone; the others go on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from cdeval.config.amateur import amateur_of
from cdeval.config.fields import plain_values
from cdeval.config.labels import label_of, name_of
from cdeval.config.metrics import needs_of
from cdeval.config.points import Role
from cdeval.config.schema import AmateurConfig, ContrastConfig, ProtocolConfig, RunConfig, SearchConfig
from cdeval.config.setting import setting_of
from cdeval.errors import CdevalError, PointError, together
from cdeval.lens.temperature import Calibration, with_temperature
from cdeval.metrics.judges.opening import find_judges
from cdeval.metrics.registry import chosen_metrics
from cdeval.models.loading import open_model
from cdeval.prompts.load import PromptSet
from cdeval.store.ledger import Entry, Ledger, LedgerState, PointState, digest_of, read_ledger
from cdeval.store.progress import Steps
from cdeval.study.models import OpenedModels, StudyModels, load_together, open_models, with_lenses

T = TypeVar("T")
U = TypeVar("U")


class StudyRequest(NamedTuple):
    """A setting that a study is to decode."""

    config: RunConfig  # checked
    plain: Mapping[str, object]  # the same as plain values, for its run folder
    calibration: Calibration | None = None  # of its temperature, where the study has calibrated that

    @property
    def digest(self) -> str:
        """Name of the request in the ledger while it is no point."""
        own = self.config
        return "asked:" + digest_of(
            [own.seed, *map(plain_values, (own.expert, own.amateur, own.contrast, own.search, own.prompts))]
        )

    @property
    def label(self) -> str:
        """A label for readers, in which layers and temperature may still be words."""
        contrast = self.config.contrast
        try:
            return label_of(setting_of(self.config))
        except (TypeError, ValueError):  # the temperature is to be calibrated, or a layer is no number
            number = replace(self.config, contrast=replace(contrast, temperature=1.0))
        try:
            return f"{label_of(setting_of(number))} with T={contrast.temperature}"
        except (TypeError, ValueError):
            return name_of(amateur_of(self.config.amateur))


@dataclass(frozen=True, slots=True)
class LoadedStudy:
    """A study with its models and prompts in memory."""

    config: RunConfig  # of one setting: all have what is read of it here
    ledger: Ledger
    models: StudyModels
    opened: Sequence[OpenedModels]  # from which the models were loaded
    prompts: PromptSet
    settings: Sequence[StudyRequest]  # that can be decoded; their layers and temperatures are numbers
    failures: Sequence[CdevalError]  # of the other settings
    say: Callable[[str], None]  # takes one line of progress at a time

    @property
    def root(self) -> Path:
        """The folder of the study."""
        return study_folder(self.config)


def study_folder(config: RunConfig) -> Path:
    """The folder of a setting's study."""
    return Path(config.runs) / config.study


def group_by_study(configs: Sequence[RunConfig]) -> list[list[int]]:
    """Find the settings that share models, prompts, length and metrics, and so their forward passes and table.

    They may differ in amateur, contrast and search, in the protocol's name, and in how many settings were tried.

    Returns: the places of the settings of each study.
    """
    found: list[tuple[RunConfig, list[int]]] = []
    for place, config in enumerate(configs):
        common = replace(
            config,
            amateur=AmateurConfig(),
            contrast=ContrastConfig(),
            search=SearchConfig(max_new_tokens=config.search.max_new_tokens),
            protocol=ProtocolConfig(diversity=config.protocol.diversity),
            tried=None,
        )
        mine = next((places for other, places in found if other == common), None)
        if mine is None:
            found.append((common, [place]))
        else:
            mine.append(place)
    return [places for _, places in found]


def open_study(requests: Sequence[StudyRequest], say: Callable[[str], None]) -> LoadedStudy:
    """Find and load what settings need that share an expert; those that fail are entered in the ledger.

    Args:
        requests: the settings, of one study.
        say: takes one line of progress at a time.

    Raises: CdevalError: what they share is missing, or none of them can be decoded.
    """
    common = requests[0].config
    find_judges(needs_of(chosen_metrics(common.metrics)), common.metrics)  # a misspelt name costs no weights
    ledger = Ledger(study_folder(common), say)
    failures: dict[str, CdevalError] = {}
    requests, left = _without_left(requests, ledger)
    if not requests:
        raise together(left)
    try:
        with Steps(say, "opening models and prompts"):
            study = _loaded(requests, ledger, failures, say)
    except CdevalError as error:
        if ledger.exists:  # a first command that is mistaken leaves no study behind
            everyone = {one.digest: failures.get(one.digest, error) for one in requests}
            ledger.change(lambda state: _settle(state, requests, everyone))
        raise
    ledger.change(lambda state: _settle(state, requests, failures))
    named = [PointError(f"{one.label}: {failures[one.digest]}") for one in requests if one.digest in failures]
    return replace(study, failures=[*left, *named])


def left_alone(label: str, reason: str | None) -> PointError:
    """The error of a point that failed before, with retry=false."""
    return PointError(f"{label} failed before and is left (retry=true tries it again): {reason}")


def _without_left(requests: Sequence[StudyRequest], ledger: Ledger) -> tuple[Sequence[StudyRequest], list[CdevalError]]:
    """Leave out the settings that failed before, with an error for each, where retry=false."""
    if requests[0].config.retry or not ledger.exists:
        return requests, []
    known = read_ledger(study_folder(requests[0].config)).points
    left = {one.digest for one in requests} & set(known)
    errors: list[CdevalError] = [left_alone(known[digest].label, known[digest].reason) for digest in sorted(left)]
    return [one for one in requests if one.digest not in left], errors


def _loaded(
    requests: Sequence[StudyRequest], ledger: Ledger, failures: dict[str, CdevalError], say: Callable[[str], None]
) -> LoadedStudy:
    shared = open_model(requests[0].config.expert)
    opened = _working(((one, one) for one in requests), lambda one: open_models(one.config, shared), failures)
    prompts = opened[0][1].prompts()
    opened = _working(opened, lambda one: _checked(one, prompts), failures)
    say(prompts.describe())
    models, broken = load_together([one for _, one in opened], prompts, say)
    failures |= {opened[place][0].digest: error for place, error in broken.items()}
    expert, amateur_models = models.expert, models.amateur_models
    say(f"expert {expert.name}: {expert.parts.depth} blocks, {expert.dtype_name} on {expert.device}")
    kept = [pair for place, pair in enumerate(opened) if place not in broken]
    ids = [prompt.id for prompt in prompts.prompts]
    calibrated = _working(kept, lambda one: with_temperature(one.config, expert, amateur_models, ids, say), failures)
    return LoadedStudy(
        config=requests[0].config,
        ledger=ledger,
        models=models,
        opened=with_lenses((one for _, one in kept), models.linear_lenses),
        prompts=prompts,
        settings=[StudyRequest(config, one.plain, calibration) for one, (config, calibration) in calibrated],
        failures=[],
        say=say,
    )


def _working(
    items: Iterable[tuple[StudyRequest, T]], act: Callable[[T], U], failures: dict[str, CdevalError]
) -> list[tuple[StudyRequest, U]]:
    """Act on each setting; the errors of those that cannot be acted on join the failures.

    Raises: CdevalError: none is left.
    """
    found = []
    for request, item in items:
        try:
            found.append((request, act(item)))
        except CdevalError as error:
            failures[request.digest] = error
    if not found:
        raise together(list(failures.values()))
    return found


def _checked(opened: OpenedModels, prompts: PromptSet) -> OpenedModels:
    """Return it. Raises: ModelError: the prompts are too long for its models."""
    opened.check(prompts)
    return opened


def _settle(state: LedgerState, requests: Sequence[StudyRequest], failures: Mapping[str, CdevalError]) -> None:
    """Enter the settings that failed; the others are points now."""
    for one in requests:
        state.points.pop(one.digest, None)
        if one.digest in failures:
            reason = str(failures[one.digest])
            state.put(Entry(one.digest, one.label, Role.arm.value, None, 0, PointState.failed, reason=reason))
