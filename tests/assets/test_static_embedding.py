"""Vectors of tokens as a sentence-transformers folder: the embedding is the mean of a text's token vectors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from cdeval.assets.static_embedding import convert_static
from cdeval.errors import ModelError
from cdeval.metrics.features import NO_CACHE
from cdeval.metrics.judges.embedder import load_embedder

TEXTS = ["the quick brown fox", "a small model", "the"]


def test_a_text_is_the_mean_of_its_tokens(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Of float16 vectors, in float32, without special tokens, whatever stands beside it; no length is cut."""
    vectors = torch.randn(len(tokenizer), 8).half()
    save_file({"embedding.weight": vectors}, tmp_path / "vectors.safetensors")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    target = tmp_path / "static"
    target.mkdir()
    convert_static(tmp_path / "vectors.safetensors", tmp_path / "tokenizer" / "tokenizer.json", target)
    embedder = load_embedder(str(target))
    for found, text in zip(embedder.vectors(TEXTS, NO_CACHE), TEXTS, strict=True):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        np.testing.assert_allclose(found, vectors[ids].float().mean(0).numpy(), rtol=1e-5)
    assert embedder.note == "cosine of static, whole texts"
    assert embedder.fingerprint == load_embedder(str(target)).fingerprint
    with pytest.raises(ModelError, match="averages the tokens of whole texts"):
        load_embedder(str(target), tokens=16)
    (target / "0_StaticEmbedding" / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_embedder(str(target))
