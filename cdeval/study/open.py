"""From settings that were asked for to loaded models: what is wrong with one costs that one alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from cdeval.config.labels import label_of
from cdeval.config.points import Role
from cdeval.config.schema import RunConfig
from cdeval.config.setting import setting_of
from cdeval.errors import CdevalError, ConfigError, PointError
from cdeval.lens.temperature import Calibration, with_temperature
from cdeval.models.loading import open_model
from cdeval.prompts import PromptSet
from cdeval.store.ledger import Entry, Ledger, LedgerState, PointState, digest_of
from cdeval.store.strict_json import plain
from cdeval.study.models import OpenedModels, StudyModels, load_together, open_models

T = TypeVar("T")
U = TypeVar("U")


class Asked(NamedTuple):
    """One setting."""

    config: RunConfig  # checked
    plain: Mapping[str, object]  # the same as plain values, for its run folder

    @property
    def digest(self) -> str:
        """Names it in the ledger while it is no point."""
        own = self.config
        return "asked:" + digest_of(
            [own.seed, *map(plain, (own.expert, own.amateur, own.contrast, own.search, own.prompts))]
        )

    @property
    def label(self) -> str:
        """What a reader calls it; its layers and temperature may still be words."""
        contrast = self.config.contrast
        try:
            return label_of(setting_of(self.config))
        except (TypeError, ValueError):  # the temperature is to be calibrated, or a layer is no number
            number = replace(self.config, contrast=replace(contrast, temperature=1.0))
        try:
            return f"{label_of(setting_of(number))} with T={contrast.temperature}"
        except (TypeError, ValueError):
            return f"{self.config.amateur.kind.name} of layer {self.config.amateur.layer}"


class Ready(NamedTuple):
    """A setting in numbers."""

    config: RunConfig
    temperature: Calibration | None  # where it was to be calibrated
    plain: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Opened:
    """A study's models and prompts."""

    models: StudyModels
    opened: list[OpenedModels]  # what it was loaded from
    prompts: PromptSet
    settings: list[Ready]
    failures: list[CdevalError]  # of the other settings


def open_settings(asked: Sequence[Asked], ledger: Ledger, say: Callable[[str], None]) -> Opened:
    """Find and load what settings need that share an expert; those that fail are in the ledger.

    Raises: CdevalError: what they share is missing, or none of them can be decoded.
    """
    failures: dict[str, CdevalError] = {}
    asked, left = _without_left(asked, ledger)
    try:
        opened = _opened(asked, failures, say) if asked else None
    except CdevalError as error:
        if ledger.exists:  # a first command that is mistaken leaves no study behind
            everyone = {one.digest: failures.get(one.digest, error) for one in asked}
            ledger.change(lambda state: _settle(state, asked, everyone))
        raise
    if opened is None:
        raise together(left)
    ledger.change(lambda state: _settle(state, asked, failures))
    named = [PointError(f"{one.label}: {failures[one.digest]}") for one in asked if one.digest in failures]
    return replace(opened, failures=[*left, *named])


def together(failures: Sequence[CdevalError]) -> CdevalError:
    """Several errors as one."""
    if len(failures) == 1:
        return failures[0]
    kind = PointError if all(isinstance(failure, PointError) for failure in failures) else ConfigError
    return kind("\n  ".join(map(str, failures)))


def left_alone(label: str, reason: str | None) -> PointError:
    """What is said of a point that failed before, with retry=false."""
    return PointError(f"{label} failed before and is left (retry=true tries it again): {reason}")


def _without_left(asked: Sequence[Asked], ledger: Ledger) -> tuple[list[Asked], list[CdevalError]]:
    """With retry=false, the settings that did not fail before; and what is said of the others."""
    if asked[0].config.retry or not ledger.exists:
        return list(asked), []
    known = ledger.read().points
    left = {one.digest for one in asked} & set(known)
    said: list[CdevalError] = [left_alone(known[digest].label, known[digest].reason) for digest in sorted(left)]
    return [one for one in asked if one.digest not in left], said


def _opened(asked: Sequence[Asked], failures: dict[str, CdevalError], say: Callable[[str], None]) -> Opened:
    shared = open_model(asked[0].config.expert)
    opened = _working(((one, one) for one in asked), lambda one: open_models(one.config, shared), failures)
    prompts = opened[0][1].prompts()
    opened = _working(opened, lambda models: _fitting(models, prompts), failures)
    say(prompts.describe())
    models, broken = load_together([one for _, one in opened], prompts)
    failures |= {opened[place][0].digest: error for place, error in broken.items()}
    expert = models.expert
    say(f"expert {expert.name}: {expert.parts.depth} blocks, {expert.dtype_name} on {expert.device}")
    loaded = [pair for place, pair in enumerate(opened) if place not in broken]
    ids = [prompt.id for prompt in prompts.prompts]
    calibrated = _working(loaded, lambda one: with_temperature(one.config, expert, models.seconds, ids, say), failures)
    kept = [one for _, one in loaded]
    return Opened(models, kept, prompts, [Ready(*found, one.plain) for one, found in calibrated], [])


def _working(
    items: Iterable[tuple[Asked, T]], act: Callable[[T], U], failures: dict[str, CdevalError]
) -> list[tuple[Asked, U]]:
    """What the settings come to that can be acted on; what is wrong with the others joins the failures.

    Raises: CdevalError: none is left.
    """
    found = []
    for asked, item in items:
        try:
            found.append((asked, act(item)))
        except CdevalError as error:
            failures[asked.digest] = error
    if not found:
        raise together(list(failures.values()))
    return found


def _fitting(models: OpenedModels, prompts: PromptSet) -> OpenedModels:
    """Itself. Raises: ModelError: the prompts are too long for its models."""
    models.check(prompts)
    return models


def _settle(state: LedgerState, asked: Sequence[Asked], failures: Mapping[str, CdevalError]) -> None:
    """Enter the settings that failed; those that did not are points now."""
    for one in asked:
        state.points.pop(one.digest, None)
        if one.digest in failures:
            reason = str(failures[one.digest])
            state.put(Entry(one.digest, one.label, Role.arm.value, None, 0, PointState.failed, reason=reason))
