"""The arguments of `cdeval.api`, made into a setting of a study with the models and prompts that it needs.

A setting of a plug-in, or of an amateur that is named, has the name by which a command takes it,
`settings={"amateur.share": 0.2}`, and the same checks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cdeval.config import amateur as config_amateur
from cdeval.config.amateur import amateur_of, kind_of
from cdeval.config.enums import SearchKind
from cdeval.config.exits import WITHOUT_FILE, Lens, check_depth, in_blocks, validate_layers
from cdeval.config.fields import leaves, plain_values
from cdeval.config.methods import extended
from cdeval.config.points import plan_points
from cdeval.config.schema import (
    CALIBRATED,
    AmateurConfig,
    ContrastConfig,
    ExecutionConfig,
    ExpertConfig,
    RunConfig,
    SearchConfig,
)
from cdeval.config.setting import Setting, setting_of
from cdeval.config.unread import changed, check_read
from cdeval.config.validation import validate
from cdeval.cost.capacity import lanes_at_once, own_slot_bytes
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.batches import decode
from cdeval.decode.finite import not_finite
from cdeval.decode.generate import check_arguments
from cdeval.decode.lanes import Continuation, Lane
from cdeval.errors import ConfigError, ModelError, did_you_mean
from cdeval.lens.linear import fitted_lens
from cdeval.models.anatomy import check_lengths
from cdeval.models.lens import TunedLens, read_lens
from cdeval.models.loading import LanguageModel
from cdeval.models.vocabulary import check_prompts, check_same_vocabulary
from cdeval.prompts.load import one_prompt
from cdeval.records import Generations, Prompt
from cdeval.store.ledger import Plan
from cdeval.store.signals import Stop
from cdeval.study.arguments import (
    language_model_of,
    lens_of,
    number_of_blocks,
    settings,
    settings_of_plugins,
    texts_or_prompts,
    whole_number,
)
from cdeval.study.executor import FailedPoint, LocalExecutor
from cdeval.study.models import StudyModels
from cdeval.study.named_amateur import named_in_blocks, named_model, named_settings
from cdeval.study.units import plan_units

# None, the expert's exit after some blocks or a share of them, another model, or the name of a kind.
Amateur: TypeAlias = int | float | str | LanguageModel | None


class DecodeCall(NamedTuple):
    """Checked arguments of `api.decode` or `api.trace`."""

    config: RunConfig
    setting: Setting
    prompts: list[Prompt]
    amateur_models: Mapping[config_amateur.Amateur, AmateurModel]


def decode_call(  # noqa: PLR0913 - named arguments of the same names as those of `api.decode`
    expert: LanguageModel,
    prompts: Sequence[str | Prompt],
    *,
    amateur: Amateur,
    lens: object,
    contrast: ContrastConfig | None,
    search: SearchConfig | None,
    seed: int,
    own: Mapping[str, object] | None,
    lenses: Mapping[config_amateur.Amateur, TunedLens] = MappingProxyType({}),
) -> DecodeCall:
    """Check the arguments of `api.decode` as a study's settings, and open the amateur's model or lens.

    The arguments are those of `api.decode`; `own` are its `settings`, `lenses` the expert's linear ones at hand.

    Raises: ConfigError: a setting is wrong, or belongs to a study. ModelError: the models do not fit each other, the
        lens is none of the expert's, or a model cannot read the texts. PromptError: a prompt without tokens.
    """
    language_model_of("expert", expert)
    config = RunConfig(
        expert=ExpertConfig(name=expert.name),
        amateur=_amateur_settings(expert, amateur, lens_of(lens)),
        contrast=settings("contrast", contrast, ContrastConfig),
        search=settings("search", search, SearchConfig),
        seed=whole_number("seed", seed, 0),
        controls=False,
    )
    if config.contrast.temperature == CALIBRATED:
        raise ConfigError("contrast.temperature=calibrated is fitted by a study on its texts: give a number here.")
    if config.search.adaptive_exit.threshold is not None:
        raise ConfigError("search.adaptive_exit is a study's: python -m cdeval.run search=calm.")
    named = isinstance(amateur, str)
    config = validate(_with_own(config, settings_of_plugins(own), named=named))
    if config.search.kind is SearchKind.hf:
        check_arguments(config.search)
    check_read([(config, changed(config))])
    config = named_in_blocks(config, expert) if named else config
    chosen = _prompts(expert, prompts)
    setting = setting_of(config)
    found = _amateur_model(expert, amateur, config, chosen)
    models = {} if found is None else {setting.amateur: found}
    at_hand = lenses.get(setting.amateur)
    models |= fitted_lens(expert, setting.amateur, chosen) if at_hand is None else {setting.amateur: at_hand}
    _check_readable([expert, *models.values()], chosen, setting)
    return DecodeCall(config, setting, chosen, models)


def continue_prompts(
    expert: LanguageModel, call: DecodeCall, execution: ExecutionConfig, on_step: Callable[[int], None]
) -> Generations:
    """Decode in this process; returns the continuations in the order of the prompts, all samples of one together.

    Args:
        expert: of the call.
        call: checked arguments.
        execution: how many prompts share a forward pass.
        on_step: called after every step with the number of new tokens.

    Raises: ModelError: a text cannot be made.
    """
    chosen, setting, models = call.prompts, call.setting, StudyModels(expert, call.amateur_models)
    points = [point for point in plan_points([call.config], models.identity, chosen) if point.setting is not None]
    lanes = {setting.beams: _lanes_at_once(expert, call, execution)}
    plan = Plan(tuple(point.digest for point in points), lanes, execution.compact_every)
    found = {}
    for unit in LocalExecutor(models, compiling=execution.compile).decode(
        plan_units(points, chosen, plan), Stop(), on_step
    ):
        if isinstance(unit, FailedPoint):
            raise unit.error
        for message in unit.texts.faults.values():
            raise ModelError(message)
        found.update({text.key: one for text, one in zip(unit.unit.texts, unit.texts.generations, strict=True)})
    return Generations(found[prompt.id, sample] for prompt in chosen for sample in range(setting.sampling.samples))


def continuations(expert: LanguageModel, call: DecodeCall) -> list[Continuation]:
    """Decode as `continue_prompts`, for callers that want the engine's answers: which token ended a text, and so on.

    Raises: ModelError: a text cannot be made.
    """
    execution, samples = ExecutionConfig(), call.setting.sampling.samples
    lanes = [Lane.from_prompt(prompt, call.setting, sample) for prompt in call.prompts for sample in range(samples)]
    found: dict[int, Continuation] = {}
    for batch in decode(
        expert,
        lanes,
        max_lanes=_lanes_at_once(expert, call, execution),
        compact_every=execution.compact_every,
        amateur_models=call.amateur_models,
    ):
        found.update(zip(batch.lanes, batch.continuations, strict=True))
    answers = [found[place] for place in range(len(lanes))]
    for lane, answer in zip(lanes, answers, strict=True):
        if answer.fault is not None:
            raise not_finite(answer.fault, expert, lane.id, call.setting)
    return answers


def _lanes_at_once(expert: LanguageModel, call: DecodeCall, execution: ExecutionConfig) -> int:
    """Prompts in one forward pass."""
    setting = call.setting
    longest = max(len(prompt.token_ids) for prompt in call.prompts) + setting.max_new_tokens
    rows = kind_of(setting.amateur).head_rows(setting.amateur)
    own = own_slot_bytes(call.amateur_models.get(setting.amateur))
    return lanes_at_once(execution, expert, setting.beams, longest, rows, own)


def _with_own(config: RunConfig, own: Mapping[str, object], *, named: bool) -> RunConfig:
    """Add settings of plug-ins, and of the amateur where it is named.

    Raises: ConfigError: there is no such setting, or it has another type.
    """
    larger = extended(RunConfig)
    known = leaves(larger).keys() - leaves(RunConfig).keys()
    known |= {name for name in leaves(larger) if named and name.startswith("amateur.")} - {"amateur.kind"}
    for name in own:
        if name not in known:
            of = f"amateur={config.amateur.kind!r} or of " if named else ""
            raise ConfigError(
                f"settings: {name!r} is no setting of {of}a plug-in that is imported. {did_you_mean(name, known)}"
            )
    if larger is RunConfig and not own:
        return config
    merged = OmegaConf.merge(OmegaConf.structured(larger), plain_values(config))
    for name, value in own.items():
        try:
            OmegaConf.update(merged, name, value)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{name}={value!r}: {str(error).splitlines()[0]}.") from error
    return cast("RunConfig", OmegaConf.to_object(merged))


def _amateur_settings(expert: LanguageModel, amateur: Amateur, lens: str) -> AmateurConfig:
    if amateur is None:
        return AmateurConfig(kind="none")
    if isinstance(amateur, str):
        return named_settings(amateur)
    if isinstance(amateur, LanguageModel):
        if amateur.parts.base is expert.parts.base:
            raise ConfigError(
                f"amateur: this is the expert itself, {expert.name}: give another model, or one of its exit layers."
            )
        # Two models may be called alike, as models in memory are by their class: here objects tell them apart.
        same = amateur.name == expert.name
        return AmateurConfig(kind="model", name=f"{amateur.name} (amateur)" if same else amateur.name)
    number_of_blocks("amateur", amateur)
    (layer,) = in_blocks(validate_layers("amateur", amateur), expert.parts.depth)
    check_depth(expert.parts.depth, layer, expert.name, "amateur")
    named = lens in WITHOUT_FILE
    return AmateurConfig(
        kind="early_exit",
        layer=layer,
        lens=Lens[lens] if named else Lens.tuned,
        lens_file=None if named else lens,
    )


def _amateur_model(
    expert: LanguageModel, amateur: Amateur, config: RunConfig, prompts: Sequence[Prompt]
) -> AmateurModel | None:
    """Open what an amateur is made of beside the expert, but for a linear lens."""
    chosen = amateur_of(config.amateur)
    if isinstance(amateur, LanguageModel):
        check_same_vocabulary(expert.vocabulary, amateur.vocabulary)
        return amateur
    if chosen.lens_file is not None and not isinstance(amateur, str):
        lens = read_lens(Path(chosen.lens_file).expanduser(), chosen.exits, expert.model.config.hidden_size)
        return lens.on(expert)
    return named_model(config, expert, prompts) if isinstance(amateur, str) else None


def _prompts(expert: LanguageModel, prompts: Sequence[str | Prompt]) -> list[Prompt]:
    """Make prompts with ids of texts. Raises: ConfigError: none, or one id twice."""
    found = [
        replace(one_prompt(prompt, expert.tokenizer).prompts[0], id=f"prompt-{place}")
        if isinstance(prompt, str)
        else prompt
        for place, prompt in enumerate(texts_or_prompts(prompts))
    ]
    if not found or len({prompt.id for prompt in found}) < len(found):
        raise ConfigError("prompts: expected at least one, each with an id of its own.")
    return found


def _check_readable(models: Iterable[object], prompts: Sequence[Prompt], setting: Setting) -> None:
    """Check that every model can read the prompts and their continuations. Raises: ModelError: one cannot."""
    lengths = {len(prompt.token_ids) for prompt in prompts}
    for model in models:
        if isinstance(model, LanguageModel):
            check_prompts(model.vocabulary, prompts)
            check_lengths(model.model.config, lengths, setting.max_new_tokens, model.name)
