"""Checks of the arguments that a Python caller gives to `cdeval.api`, so that a mistake is one sentence.

Types and choices are checked as Hydra checks them for the commands: `Search(kind="greedy")` is what `search=greedy` is.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar, cast

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cdeval.config.metrics import IN_TOKENS, LANGUAGE_MODELS
from cdeval.config.schema import MetricsConfig
from cdeval.errors import ConfigError, ModelError
from cdeval.metrics.registry import chosen_metrics
from cdeval.models.loading import LanguageModel
from cdeval.models.vocabulary import special_names
from cdeval.prompts.tokens import TextCodec, with_tokens
from cdeval.records import Generation, Prompt
from cdeval.score.marks import without_marks
from cdeval.score.read import human_texts

C = TypeVar("C")


def settings(name: str, given: object, kind: type[C]) -> C:
    """Check a group of settings, every value by its type; None stands for the defaults.

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
    """Check that `load` returned an object. Raises: ConfigError: it is something else."""
    if not isinstance(given, LanguageModel):
        hint = f"load({name}, tokenizer)" if isinstance(given, PreTrainedModel) else "load('gpt2')"
        raise ConfigError(f"{name}: expected what cdeval.api.load returns, as {hint}; got {_kind(given)}.")
    return given


def number_of_blocks(name: str, given: object) -> None:
    """Check an amateur. Raises: ConfigError: neither a number, whose range is checked later, nor a loaded model."""
    if not isinstance(given, int | float):
        language_model_of(name, given)


def whole_number(name: str, given: object, least: int) -> int:
    """Check a whole number. Raises: ConfigError: another type, or below `least`."""
    if not isinstance(given, int) or isinstance(given, bool) or given < least:
        raise ConfigError(f"{name}={given!r}: expected a whole number from {least}.")
    return given


def texts_or_prompts(given: object) -> list[str | Prompt]:
    """Check a list of prompts. Raises: ConfigError: no list, or of something else."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise ConfigError(f"prompts: expected a list of texts, as decode(expert, ['a text']); got {_kind(given)}.")
    found = list(given)
    for place, one in enumerate(found):
        if not isinstance(one, str | Prompt):
            raise ConfigError(f"prompts[{place}]: expected a text or a cdeval Prompt, got {_kind(one)}.")
    return found


def list_of_names(name: str, given: object) -> list[str]:
    """Check a list of names. Raises: ConfigError: one name by itself, or no names."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"{name}: expected a list of names, as {name}=['diversity']; got {given!r}.")
    return [str(one) for one in given]


def arms_of(given: object) -> Mapping[str, Sequence[Generation]]:
    """Check texts by label. Raises: ConfigError: no mapping, no texts, or texts that are no generations."""
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
    """Name a model by where it was loaded from, or by its class."""
    return getattr(model, "name_or_path", "") or type(model).__name__


def metrics_of(names: Sequence[str], scorer: LanguageModel | None) -> list[str]:
    """Choose the metrics to compute; without a scorer those that need none, if none is named.

    Raises: ConfigError: a named one needs a scorer.
    """
    if scorer is not None:
        return list(names)
    chosen = chosen_metrics(MetricsConfig(only=list(names)))
    unread = [metric.name for metric in chosen if metric.needs & LANGUAGE_MODELS]
    if names and unread:
        raise ConfigError(f"metrics: {unread[0]} is read by a language model; give one, as score(arms, expert).")
    return list(names) or [metric.name for metric in chosen if not metric.needs & IN_TOKENS]


def in_tokens_of(scorer: LanguageModel, texts: Sequence[Generation]) -> list[Generation]:
    """Give texts the scorer's tokens: their own where these decode to the text, but for spaces at the seams."""
    tokenizer, codec = scorer.tokenizer, TextCodec(scorer.tokenizer)
    decoded = [codec.continuation_text(text.token_ids, text.prompt_token_ids) for text in texts]
    own = [
        bool(text.prompt_token_ids) and "".join(read.split()) == "".join(text.continuation.split())
        for read, text in zip(decoded, texts, strict=True)
    ]
    return [
        text if is_own else other for text, is_own, other in zip(texts, own, with_tokens(texts, tokenizer), strict=True)
    ]


def unmarked(label: str, texts: Sequence[Generation], scorer: LanguageModel | None) -> list[Generation]:
    """Take special tokens from the ends of an arm's texts that have no token ids, with a warning.

    Raises: TextsError: a special token stands inside a text.
    """
    foreign = [text for text in texts if not text.token_ids]
    names = special_names(scorer.tokenizer) if scorer is not None else set()
    found = without_marks(foreign, label, names)
    for note in found.notes():
        warnings.warn(f"{label}: {note}", stacklevel=3)
    rest = iter(found.texts)
    return [text if text.token_ids else next(rest) for text in texts]


def references_of(arms: Mapping[str, Sequence[Generation]], scorer: LanguageModel | None) -> list[Generation]:
    """Make texts of the references of all arms, with the scorer's tokens where there is a scorer."""
    found = list(human_texts([text for texts in arms.values() for text in texts]))
    return found if scorer is None else with_tokens(found, scorer.tokenizer)


def _kind(given: object) -> str:
    return f"{type(given).__name__} ({given!r})" if isinstance(given, str | int | float) else type(given).__name__
