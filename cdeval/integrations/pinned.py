"""`generate` of a folder that `python -m cdeval.export` wrote: one setting, which no argument changes.

transformers copies the folder's code elsewhere before it runs, but not the lens: that is looked for where the caller
says that the folder is, on a disk or on the hub, and taken only if it is the file that was exported.
"""

import inspect
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, cast

from omegaconf import OmegaConf
from transformers import GenerationMixin, PreTrainedModel
from transformers.utils import cached_file

from cdeval.config.enums import Dtype
from cdeval.config.schema import ContrastConfig, ExpertConfig
from cdeval.errors import ConfigError, ModelError
from cdeval.integrations.transformers import contrastive_generate
from cdeval.models.loading import LanguageModel, open_model
from cdeval.models.vocabulary import end_tokens
from cdeval.store.hashing import sha256_of

# What a caller may give: the texts, how many and how long, and the form of what is returned.
_TEXTS = frozenset(("inputs", "input_ids", "attention_mask", "tokenizer", "prompt_ids", "seed"))
_FORM = frozenset(("max_new_tokens", "max_length", "num_return_sequences", "pad_token_id", "return_dict_in_generate"))
_FREE = _TEXTS | _FORM
_OF_HUB = ("revision", "token", "cache_dir", "local_files_only")
# What a model's own generation_config may ask for, and the pinned setting does not.
_PLAIN: Final[Mapping[str, Any]] = {
    "num_beams": 1,
    "do_sample": False,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
}


def pinned_generate(model: PreTrainedModel, setting: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """Continue prompts by a pinned setting; returns what `contrastive_generate` returns.

    Args:
        model: of transformers, of the caller's.
        setting: as `cdeval.export` wrote it: amateur, contrast, search as plain values, seed, and the lens's SHA-256.
        given: the arguments of `generate`, by name.

    Raises: ConfigError: an argument that the setting pins. ModelError: the lens is not there, or another file.
    """
    for name, value in given.items():
        if value is not None and name not in _FREE and name not in _OF_HUB:
            raise ConfigError(
                f"{name}: this folder pins its setting. Leave {name} out, or write another folder by "
                "python -m cdeval.export."
            )
    free = {name: value for name, value in given.items() if name in _FREE and value is not None}
    tokenizer = free.pop("tokenizer", None)
    amateur, own = _amateur(model, setting, {name: given[name] for name in _OF_HUB if given.get(name) is not None})
    merged = OmegaConf.merge(OmegaConf.structured(ContrastConfig), setting["contrast"])
    search = setting["search"]
    if not {"max_new_tokens", "max_length"} & free.keys():
        free["max_new_tokens"] = search["max_new_tokens"]
    ends = [] if tokenizer is None else list(end_tokens(model, tokenizer))
    # The method of the class: where the model was loaded from such a folder, its own `generate` is this function.
    return GenerationMixin.generate(
        model,
        custom_generate=partial(
            contrastive_generate,
            tokenizer=tokenizer,
            amateur=amateur,
            contrast=cast("ContrastConfig", OmegaConf.to_object(merged)),
            settings=own,
            ban=search["ban"],
            pool=search["pool"],
            seed=free.pop("seed", setting["seed"]),
            prompt_ids=free.pop("prompt_ids", None),
        ),
        **{**_PLAIN, **_search(search), "eos_token_id": ends or None, **free},
    )


def _search(search: Mapping[str, Any]) -> dict[str, Any]:
    """The search in the words of GenerationConfig."""
    if search["kind"] == "beam":
        return {"num_beams": search["beams"], "length_penalty": 0.0, "early_stopping": False}
    if search["kind"] == "greedy":
        return {}
    return {
        "do_sample": True,
        "num_return_sequences": search["samples"],
        "temperature": search["temperature"],
        "top_k": search["top_k"] or 0,
        "top_p": search["top_p"] or 1.0,
        "typical_p": search["typical_p"] or 1.0,
        "min_p": search["min_p"],
        "eta_cutoff": search["eta"] or 0.0,
    }


def _amateur(
    model: PreTrainedModel, setting: Mapping[str, Any], hub: Mapping[str, Any]
) -> tuple[str | LanguageModel | None, dict[str, object]]:
    """The amateur, and the settings of one that is named."""
    kind, values = setting["amateur"]["kind"], dict(setting["amateur"])
    if kind == "none":
        return None, {}
    if kind == "model":
        dtype = str(model.dtype).removeprefix("torch.")
        return _second_model(values["name"], values["revision"], dtype, str(model.device)), {}
    if setting["lens"] is not None:
        values["lens_file"] = str(_lens_file(model, setting["lens"], hub))
    return kind, {f"amateur.{name}": value for name, value in values.items() if name != "kind"}


@lru_cache(maxsize=1)
def _second_model(name: str, revision: str | None, dtype: str, device: str) -> LanguageModel:
    return open_model(ExpertConfig(name, revision, Dtype[dtype], device), "the exported amateur").load()


def _lens_file(model: PreTrainedModel, lens: Mapping[str, str], hub: Mapping[str, Any]) -> Path:
    """The lens of the folder. Raises: ModelError: it is not there, or another file."""
    place = _folder_of_call() or getattr(model, "name_or_path", "")
    try:
        found = cached_file(place, lens["file"], **hub)
    except (OSError, ValueError):
        found = None
    if found is None or sha256_of(Path(found)) != lens["sha256"]:
        raise ModelError(
            f"{lens['file']} in {place or 'no folder'} is not the lens that was exported, or not there. Copy the whole "
            "folder, and give custom_generate=<its path>."
        )
    return Path(found)


def _folder_of_call() -> str:
    """The folder or repository that the running `generate` was given as custom_generate; empty: none."""
    generate = inspect.unwrap(GenerationMixin.generate).__code__
    frame = inspect.currentframe()
    while frame is not None:
        named = frame.f_locals.get("custom_generate") if frame.f_code is generate else None
        if isinstance(named, str):
            return named
        frame = frame.f_back
    return ""
