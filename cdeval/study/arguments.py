"""Checks of the arguments that a Python caller gives to `cdeval.api`, so that a mistake is one sentence.

Types and choices are checked as Hydra checks them for the commands: `Search(kind="greedy")` is what `search=greedy` is.
"""

import os
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import TypeVar, cast

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cdeval.config.exits import WITHOUT_FILE, Lens
from cdeval.config.schema import MOST_SEED
from cdeval.errors import ConfigError, ModelError
from cdeval.models.loading import LanguageModel
from cdeval.records import Prompt

C = TypeVar("C")
Choice = TypeVar("Choice", bound=Enum)


def settings(name: str, given: object, kind: type[C]) -> C:
    """Check a group of settings, every value by its type; None stands for the defaults.

    Raises: ConfigError: another object, or a value of another type.
    """
    if given is None:
        return kind()
    if not isinstance(given, kind):
        raise ConfigError(f"{name}: expected cdeval.api.{name.capitalize()}(...), got {kind_name(given)}.")
    try:
        return cast("C", OmegaConf.to_object(OmegaConf.structured(given)))
    except OmegaConfBaseException as error:
        setting = f"{name}.{error.full_key}" if error.full_key else name
        raise ConfigError(f"{setting}: {str(error).splitlines()[0]}.") from error


def choice(name: str, given: object, kind: type[Choice]) -> Choice:
    """Read one of some choices, given as itself or by its name. Raises: ConfigError: there is none of that name."""
    if isinstance(given, kind):
        return given
    if not isinstance(given, str) or given not in kind.__members__:
        raise ConfigError(f"{name}={given}: expected one of {', '.join(kind.__members__)}.")
    return kind[given]


def lens_of(given: object) -> str:
    """Read the name of a lens, or its file. Raises: ConfigError: neither."""
    named = given.name if isinstance(given, Lens) else given
    if not isinstance(named, str | os.PathLike) or not os.fspath(named) or named == Lens.tuned.name:
        names = ", ".join(WITHOUT_FILE)
        raise ConfigError(f"lens={named!r}: expected one of {names}, or the file of a tuned lens.")
    return str(os.fspath(named))


def language_model_of(name: str, given: object) -> LanguageModel:
    """Check that `load` returned an object. Raises: ConfigError: it is something else."""
    if not isinstance(given, LanguageModel):
        hint = f"load({name}, tokenizer)" if isinstance(given, PreTrainedModel) else "load('gpt2')"
        raise ConfigError(f"{name}: expected what cdeval.api.load returns, as {hint}; got {kind_name(given)}.")
    return given


def number_of_blocks(name: str, given: object) -> None:
    """Check an amateur. Raises: ConfigError: neither a number, whose range is checked later, nor a loaded model."""
    if not isinstance(given, int | float):
        language_model_of(name, given)


def whole_number(name: str, given: object, least: int, most: int = MOST_SEED) -> int:
    """Check a whole number. Raises: ConfigError: another type, or out of its range."""
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= most:
        raise ConfigError(f"{name}={given!r}: expected a whole number from {least} to {most}.")
    return given


def whole_numbers(name: str, given: object) -> list[int]:
    """Check a list of whole numbers from 1. Raises: ConfigError: no list, an empty one, or something else in it."""
    found = list(given) if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping) else []
    if not found:
        raise ConfigError(f"{name}={given!r}: expected a list of whole numbers, as {name}=[20, 24].")
    return [whole_number(name, one, 1) for one in found]


def path_of(name: str, given: object) -> str:
    """Check a name or a path. Raises: ConfigError: neither."""
    if not isinstance(given, str | os.PathLike):
        raise ConfigError(f"{name}: expected a name or a file, got {kind_name(given)}.")
    return str(os.fspath(given))


def callback_of(name: str, given: C) -> C:
    """Check a function that is called back. Raises: ConfigError: it cannot be called."""
    if not callable(given):
        raise ConfigError(f"{name}: expected a function, got {kind_name(given)}.")
    return given


def settings_of_plugins(given: object) -> Mapping[str, object]:
    """Check settings by name. Raises: ConfigError: no mapping."""
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f'settings: expected values by name, as {{"amateur.share": 0.2}}; got {kind_name(given)}.')
    return given or {}


def texts_or_prompts(given: object) -> list[str | Prompt]:
    """Check a list of prompts. Raises: ConfigError: no list, or of something else."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise ConfigError(f"prompts: expected a list of texts, as decode(expert, ['a text']); got {kind_name(given)}.")
    found = list(given)
    for place, one in enumerate(found):
        if not isinstance(one, str | Prompt):
            raise ConfigError(f"prompts[{place}]: expected a text or a cdeval Prompt, got {kind_name(one)}.")
    return found


def list_of_names(name: str, given: object) -> list[str]:
    """Check a list of names. Raises: ConfigError: one name by itself, or no names."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"{name}: expected a list of names, as {name}=['diversity']; got {given!r}.")
    return [str(one) for one in given]


def loaded_model(model: object, tokenizer: object, asked: Mapping[str, str | None]) -> PreTrainedModel:
    """Check that a model which a user loaded can be decoded with as it is.

    Args:
        model: what the user gave as the model.
        tokenizer: as the tokenizer.
        asked: `dtype`, `device` and `revision` as the user gave them; `auto` and None ask for nothing.

    Raises: ConfigError: no model or tokenizer of transformers, or it is asked to be another than it is. ModelError: it
        is in training mode, or its weights are not in one place.
    """
    if not isinstance(model, PreTrainedModel):
        raise ConfigError(
            f"load: expected a hub id, a folder or a causal language model of transformers, got {kind_name(model)}. "
            "Of a wrapped model give the model inside (PEFT: model.merge_and_unload(); torch.compile: the original)."
        )
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        got = "" if tokenizer is None else f"; got {kind_name(tokenizer)}"
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
    """Name a model by where it was loaded from, or by its class."""
    return getattr(model, "name_or_path", "") or type(model).__name__


def kind_name(given: object) -> str:
    """Name the kind of a value for a message; of a short one with the value."""
    return f"{type(given).__name__} ({given!r})" if isinstance(given, str | int | float) else type(given).__name__
