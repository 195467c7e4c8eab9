"""An amateur that a Python caller names, with the settings that a command gives it.

    decode(expert, prompts, amateur="pruned", settings={"amateur.left_out": [11, 12, 13]})

A setting that is not given has the value of the file of that name in `conf/amateur`, as for `amateur=pruned`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from omegaconf import OmegaConf

from cdeval.config.amateur import AMATEURS, amateur_of, kind_of
from cdeval.config.enums import Dtype
from cdeval.config.paths import CONF
from cdeval.config.schema import AmateurConfig, ExpertConfig, RunConfig
from cdeval.decode.amateurs.kind import AmateurModel
from cdeval.decode.amateurs.own_prompt import OwnPrompt
from cdeval.errors import ConfigError, did_you_mean
from cdeval.models.loading import LanguageModel, OpenedModel, open_model
from cdeval.prompts.load import PromptSet
from cdeval.records import Prompt


def named_settings(name: str) -> AmateurConfig:
    """The usual settings of an amateur. Raises: ConfigError: there is none of that name, or it is another model."""
    plugged = [kind.name for kind in AMATEURS.plugged()]
    if name in plugged:
        return AmateurConfig(kind=name)
    files = {path.stem: OmegaConf.load(path) for path in (CONF / "amateur").glob("*.yaml")}
    own = {stem: values for stem, values in files.items() if values.kind != "model"}
    if name not in own:
        raise ConfigError(
            f"amateur={name!r}: there is no kind of that name. {did_you_mean(name, [*own, *plugged])} "
            "For another model give load('gpt2'), for an exit its number of blocks."
        )
    return cast("AmateurConfig", OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(AmateurConfig), own[name])))


def named_in_blocks(config: RunConfig, expert: LanguageModel) -> RunConfig:
    """Put numbers of blocks for fractions of the depth. Raises: ModelError: the layers do not fit the expert."""
    amateur = AMATEURS[config.amateur.kind].in_blocks(config.amateur, expert.parts.depth, expert.name)
    return replace(config, amateur=amateur)


def named_model(config: RunConfig, expert: LanguageModel, prompts: Sequence[Prompt]) -> AmateurModel | None:
    """Load what a named amateur is made of, beside the expert.

    Raises: CdevalError: its settings do not fit the expert, or it cannot be loaded. PromptError: it is to read prompts
        without their context, and one has none.
    """
    kind, count = kind_of(amateur_of(config.amateur)), len(prompts)
    OwnPrompt.from_amateur(amateur_of(config.amateur), expert.tokenizer).lengths(tuple(prompts))
    own = OpenedModel(
        expert.name,
        path=expert.name,
        revision=expert.revision,
        config=expert.model.config,
        tokenizer=expert.tokenizer,
        dtype=expert.dtype,
        device=expert.device,
    )
    opened = kind.open(config, own)
    given = PromptSet(tuple(prompts), "Python", count, 0, 1, count, None, 0, 0)
    found: AmateurModel | None = kind.load(opened, config, _readable(expert) if kind.reads_weights else expert, given)
    return found


def _readable(expert: LanguageModel) -> LanguageModel:
    """The expert with weights that can be read: those of one that was laid out for the processor are read again."""
    if not any(weight.is_meta for weight in expert.parts.blocks.parameters()):
        return expert
    dtype, device = Dtype[expert.dtype_name], str(expert.device)
    asked = ExpertConfig(name=expert.name, revision=expert.revision, dtype=dtype, device=device)
    return open_model(asked).load(packed=False)
