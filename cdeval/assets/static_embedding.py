"""Vectors of tokens and a tokenizer as a sentence-transformers folder, whose embedding of a text is their mean."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

_INSIDE = "0_StaticEmbedding"
_WEIGHT = "embedding.weight"  # as sentence-transformers calls it


def convert_static(weights: Path, tokenizer: Path, target: Path) -> None:
    """Write the folder, in float32: means of float16 would lose digits.

    Args: weights: safetensors with one table [token, width]. tokenizer: a tokenizers file. target: an empty folder.
    """
    inside = target / _INSIDE
    inside.mkdir()
    save_file({_WEIGHT: load_file(weights)[_WEIGHT].to(torch.float32)}, inside / "model.safetensors")
    shutil.copyfile(tokenizer, inside / "tokenizer.json")
    module = {"idx": 0, "name": "0", "path": _INSIDE, "type": "sentence_transformers.models.StaticEmbedding"}
    (target / "modules.json").write_text(json.dumps([module], indent=2), encoding="utf-8")
    (target / "config_sentence_transformers.json").write_text("{}", encoding="utf-8")
