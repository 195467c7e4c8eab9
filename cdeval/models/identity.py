"""The identity of a model: everything of it that shapes texts, under one name, its fingerprint.

    fingerprint = "2:" + SHA-256( weights, configuration, tokenizer, tokens that end a text )

Weights count in full: names, number formats, shapes and all values, as they are in memory, so that the same model has
the same fingerprint from one file or several, from a folder or handed over by a program. Folders' names, the release of
transformers that wrote them, and dropout, which inference does not use, do not count.

Run folders and lenses of older releases know their model by some sampled values of its weights: two models that differ
elsewhere have one fingerprint there. `cdeval.store.hashing.is_whole` tells them.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from cdeval.errors import ModelError
from cdeval.store.hashing import WHOLE

_NO_MATTER = frozenset(  # of a configuration: who wrote it, other tasks, training, what is decided at loading
    {
        "_name_or_path",
        "transformers_version",
        "torch_dtype",
        "dtype",
        "architectures",
        "auto_map",
        "use_cache",
        "_attn_implementation",
        "attn_implementation",
        "gradient_checkpointing",
        "initializer_range",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "id2label",
        "label2id",
        "num_labels",
        "problem_type",
        "task_specific_params",
        "finetuning_task",
    }
)
_OF_TRAINING = re.compile(r"dropout|_pdrop$|^layerdrop$")


def fingerprint_of(
    weights: str, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, ends: tuple[int, ...] = ()
) -> str:
    """The model's name. Args: weights: by `weights_digest`. ends: tokens that end a text, where it writes some."""
    return WHOLE + _sha256([weights, settings_digest(config), tokenizer_digest(tokenizer), list(ends)])


def weights_digest(model: nn.Module, name: str = "the model") -> str:
    """SHA-256 over names, number formats, shapes and all values of a model's weights.

    Raises: ModelError: some have no values, because they are elsewhere (offloaded, or laid out for the processor).
    """
    weights = sorted(model.state_dict().items())
    if any(weight.device.type == "meta" for _, weight in weights):
        raise ModelError(
            f"{name} has weights without values (on torch's meta device: offloaded or packed), so it cannot be told "
            "from other models: load it whole into memory."
        )
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashing releases Python's lock
        distinct = {_place(weight): weight for _, weight in weights}
        sums = dict(zip(distinct, pool.map(_values_digest, distinct.values()), strict=True))
    rows = [[key, str(weight.dtype), list(weight.shape), sums[_place(weight)]] for key, weight in weights]
    return _sha256(rows)


def settings_digest(config: PretrainedConfig) -> str:
    """SHA-256 of what a configuration says of the forward pass."""
    return _sha256(_that_matter(config.to_diff_dict()))


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of how texts become tokens and tokens texts, special tokens included."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        rules = json.loads(backend.to_str())
        for changed_by_use in ("truncation", "padding"):
            rules.pop(changed_by_use, None)
    else:
        rules = sorted(tokenizer.get_vocab().items())
    names = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
    special = {name: str(getattr(tokenizer, name)) for name in names if getattr(tokenizer, name, None) is not None}
    settings = ("add_bos_token", "add_eos_token", "add_prefix_space", "clean_up_tokenization_spaces", "legacy")
    own = {name: getattr(tokenizer, name) for name in settings if isinstance(getattr(tokenizer, name, None), bool)}
    return _sha256([rules, special, sorted(tokenizer.all_special_ids), own])


def _place(weight: Tensor) -> tuple[object, ...]:
    """Tied weights are one."""
    return weight.device, weight.data_ptr(), weight.dtype, tuple(weight.shape), weight.stride()


def _values_digest(weight: Tensor) -> str:
    values = weight.detach().contiguous().cpu().reshape(-1).view(torch.uint8)
    return hashlib.sha256(values.numpy().data).hexdigest()


def _that_matter(value: object) -> object:
    """Leave out what is None or false, which a release that does not know the setting yet leaves out as well."""
    if isinstance(value, Mapping):
        return {
            str(name): _that_matter(inner)
            for name, inner in value.items()
            if str(name) not in _NO_MATTER
            and not _OF_TRAINING.search(str(name))
            and inner is not None
            and inner is not False
        }
    return [_that_matter(inner) for inner in value] if isinstance(value, list | tuple) else value


def _sha256(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
