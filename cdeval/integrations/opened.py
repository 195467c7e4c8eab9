"""A caller's model as the engine takes it, opened anew for every call: only what is dear to find out is remembered."""

import inspect
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

from transformers import GenerationMixin, PreTrainedModel, PreTrainedTokenizerBase

from cdeval.config.amateur import Amateur
from cdeval.models.anatomy import dissect
from cdeval.models.lens import TunedLens
from cdeval.models.loading import LanguageModel, language_model
from cdeval.models.vocabulary import check_rows, end_tokens, token_names
from cdeval.study.arguments import loaded_model, model_name


@dataclass
class KnownModel:
    """What was found out about a model in one state of its weights."""

    state: tuple[object, ...]
    fingerprint: str = ""
    lenses: dict[Amateur, TunedLens] = field(default_factory=dict)  # linear ones


# By model, and gone with it: nothing that is remembered holds the model.
_KNOWN: WeakKeyDictionary[PreTrainedModel, KnownModel] = WeakKeyDictionary()


def open_given(
    model: object, tokenizer: object, ends: tuple[int, ...] | None, *, identified: bool
) -> tuple[LanguageModel, KnownModel]:
    """Check a model of the caller's, and wrap it.

    Args:
        model: of transformers.
        tokenizer: of the model.
        ends: tokens that end a text; None: the model's own.
        identified: whether its fingerprint is needed, for which all weights are read once.

    Raises: ConfigError, ModelError: as `loaded_model`; ModelError: its architecture is not known, or the tokenizer is
        larger than the model.
    """
    loaded = loaded_model(model, tokenizer, {})
    name = model_name(loaded)
    state = _state(loaded, tokenizer)
    known = _KNOWN.get(loaded)
    if known is None or known.state != state:
        known = _KNOWN[loaded] = KnownModel(state)
    if identified and not known.fingerprint:
        known.fingerprint = language_model(loaded, tokenizer, name).fingerprint
    found = LanguageModel(
        name,
        None,
        loaded,
        tokenizer,
        known.fingerprint,
        parts=dissect(loaded, name),
        own_ends=ends,
    )
    check_rows(found.vocabulary)
    return found, known


def _state(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[object, ...]:
    """Changes with the weights, as far as torch counts changes, with the tokenizer and the end tokens."""
    weights = tuple((w.data_ptr(), 0 if w.is_inference() else w._version) for w in model.state_dict().values())
    return weights, token_names(tokenizer), end_tokens(model, tokenizer)


def dropped_arguments() -> dict[str, Any]:
    """Arguments of the running `generate` that its custom_generate does not get, by their names.

    transformers 5 takes `tokenizer`, `streamer` and `assistant_model` out of a call and hands them to nobody where
    custom_generate is a callable. They are read off the calls that are going on, so that none is ignored in silence.
    """
    generate = inspect.unwrap(GenerationMixin.generate).__code__
    frame: FrameType | None = inspect.currentframe()
    while frame is not None and frame.f_code is not generate:
        frame = frame.f_back
    if frame is None:
        return {}
    found = {name: frame.f_locals.get(name) for name in ("streamer", "assistant_model")}
    # The call around it is torch's no_grad, whose own arguments are as the caller gave them.
    above = frame.f_back.f_locals.get("kwargs") if frame.f_back is not None else None
    if isinstance(above, dict):
        found["tokenizer"] = above.get("tokenizer")
    return found
