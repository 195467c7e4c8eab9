"""What a Python caller hands to `cdeval.api`, checked where it comes in, so that a mistake is one sentence.

Types and choices are checked as Hydra checks them for the commands: `Search(kind="greedy")` is what `search=greedy` is.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar, cast

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cdeval.errors import ConfigError, ModelError
from cdeval.models.loading import LanguageModel
from cdeval.records import Generation, Prompt

C = TypeVar("C")


def settings(name: str, given: object, kind: type[C]) -> C:
    """A group of settings with every value of its type; None: the defaults.

    Raises: ConfigError: another object, or a value of another type.
    """
    if given is None:
        return kind()
    if not isinstance(given, kind):
        raise ConfigError(f"{name}: expected cdeval.api.{name.capitalize()}(...), got {_kind(given)}.")
    try:
        return cast("C", OmegaConf.to_object(OmegaConf.structured(given)))
    except OmegaConfBaseException as error:
        setting = f"{name}.{error.full_key}" if error.full_key else name
        raise ConfigError(f"{setting}: {str(error).splitlines()[0]}.") from error


def language_model_of(name: str, given: object) -> LanguageModel:
    """What `load` returned. Raises: ConfigError: it is something else."""
    if not isinstance(given, LanguageModel):
        hint = f"load({name}, tokenizer)" if isinstance(given, PreTrainedModel) else "load('gpt2')"
        raise ConfigError(f"{name}: expected what cdeval.api.load returns, as {hint}; got {_kind(given)}.")
    return given


def number_of_blocks(name: str, given: object) -> None:
    """Raises: ConfigError: neither a number, whose range is checked later, nor what `load` returned."""
    if not isinstance(given, int | float):
        language_model_of(name, given)


def whole_number(name: str, given: object, least: int) -> int:
    """A whole number. Raises: ConfigError: another type, or below `least`."""
    if not isinstance(given, int) or isinstance(given, bool) or given < least:
        raise ConfigError(f"{name}={given!r}: expected a whole number from {least}.")
    return given


def texts_or_prompts(given: object) -> list[str | Prompt]:
    """A list of prompts. Raises: ConfigError: no list, or of something else."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise ConfigError(f"prompts: expected a list of texts, as decode(expert, ['a text']); got {_kind(given)}.")
    found = list(given)
    for place, one in enumerate(found):
        if not isinstance(one, str | Prompt):
            raise ConfigError(f"prompts[{place}]: expected a text or a cdeval Prompt, got {_kind(one)}.")
    return found


def list_of_names(name: str, given: object) -> list[str]:
    """A list of names. Raises: ConfigError: one name by itself, or no names."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"{name}: expected a list of names, as {name}=['diversity']; got {given!r}.")
    return [str(one) for one in given]


def arms_of(given: object) -> Mapping[str, Sequence[Generation]]:
    """Texts by label. Raises: ConfigError: no mapping, no texts, or texts that are no generations."""
    if not isinstance(given, Mapping) or not given or any(not isinstance(texts, Sequence) for texts in given.values()):
        raise ConfigError("score needs arms with at least one text each, as {'my arm': decode(...)}.")
    for label, texts in given.items():
        if not texts:
            raise ConfigError(f"arm {label!r}: expected at least one text, as decode returns them.")
        other = next((text for text in texts if not isinstance(text, Generation)), None)
        if other is not None:
            raise ConfigError(f"arm {label!r}: expected the generations that decode returns, got {_kind(other)}.")
    return given


def loaded_model(model: object, tokenizer: object, asked: Mapping[str, str | None]) -> PreTrainedModel:
    """A model that a user loaded, fit to decode with as it is.

    Args:
        model: what the user gave as the model.
        tokenizer: as the tokenizer.
        asked: `dtype`, `device` and `revision` as the user gave them; `auto` and None ask for nothing.

    Raises: ConfigError: no model or tokenizer of transformers, or it is asked to be another than it is. ModelError: it
        is in training mode, or its weights are not in one place.
    """
    if not isinstance(model, PreTrainedModel):
        raise ConfigError(
            f"load: expected a hub id, a folder or a causal language model of transformers, got {_kind(model)}. "
            "Of a wrapped model give the model inside (PEFT: model.merge_and_unload(); torch.compile: the original)."
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        got = "" if tokenizer is None else f"; got {_kind(tokenizer)}"
        raise ConfigError(f"load(model) needs the model's tokenizer, as load(model, tokenizer){got}.")
    own = {"dtype": str(model.dtype).removeprefix("torch."), "device": str(model.device), "revision": None}
    for name, wanted in asked.items():
        same = wanted == own[name] or (name == "device" and wanted == model.device.type)
        if wanted not in (None, "auto") and not same:
            raise ConfigError(
                f"load(model, tokenizer, {name}={wanted!r}): a loaded model stays as it is ({name}: {own[name]}). "
                f"Leave {name} out, or change the model before."
            )
    title = model_name(model)
    training = next((part or "it" for part, module in model.named_modules() if module.training), None)
    if training is not None:
        part = "" if training == "it" else f" ({training})"
        raise ModelError(
            f"{title} is in training mode{part}, in which dropout is drawn anew at every call: model.eval() first."
        )
    places = sorted({str(weight.device) for weight in model.parameters()})
    if len(places) != 1 or torch.device(places[0]).type == "meta":
        raise ModelError(
            f"{title} has its weights on {', '.join(places) or 'no device'}: cdeval decodes on one device that holds "
            "all of them. Load the model without device_map, or give load() its hub id or folder."
        )
    return model


def model_name(model: PreTrainedModel) -> str:
    """What a model is called: where it was loaded from, or its class."""
    return getattr(model, "name_or_path", "") or type(model).__name__


def _kind(given: object) -> str:
    return f"{type(given).__name__} ({given!r})" if isinstance(given, str | int | float) else type(given).__name__
