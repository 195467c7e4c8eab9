"""Tiny models written as llama.cpp would write them must come back as the same models and tokenizers."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from cdeval.assets.gguf import _IN_BLOCK, convert_any, convert_llama, unpermute
from tests.conftest import check_same_model

HEADS, KV_HEADS = 4, 2
_IN_GEMMA3S_BLOCK = _IN_BLOCK | {
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def permute(weight: np.ndarray, heads: int) -> np.ndarray:
    """As in llama.cpp's convert_hf_to_gguf.py."""
    rows = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def write_gguf(
    path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, architecture: str = "llama"
) -> None:
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(5000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if architecture == "gemma3":
        writer.add_key_length(config.head_dim)
        writer.add_sliding_window(config.sliding_window)
    facts = json.loads(tokenizer.backend_tokenizer.to_str())
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    special = set(tokenizer.all_special_tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in facts["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    for name, values in llama_cpp_weights(model).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_cpp_weights(model: PreTrainedModel) -> dict[str, np.ndarray]:
    state = {name: weight.numpy() for name, weight in model.state_dict().items()}
    weights = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
    }
    if not model.config.tie_word_embeddings:
        weights["output.weight"] = state["lm_head.weight"]
    gemma = isinstance(model, Gemma3ForCausalLM)
    for block in range(model.config.num_hidden_layers):
        for theirs, ours in (_IN_GEMMA3S_BLOCK if gemma else _IN_BLOCK).items():
            values = state[f"model.layers.{block}.{ours}.weight"]
            heads = None if gemma else {"attn_q": HEADS, "attn_k": KV_HEADS}.get(theirs)
            weights[f"blk.{block}.{theirs}.weight"] = permute(values, heads) if heads else values
    return {name: values + 1 if gemma and "norm" in name else values for name, values in weights.items()}


def tiny_llama(vocabulary: int, tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=64,
        rope_theta=5000.0,
        tie_word_embeddings=tied,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(requires_grad=False)
    for weight in model.parameters():
        weight.normal_(1.0 if weight.dim() == 1 else 0.0, 0.3)
    return model


def tiny_gemma3(vocabulary: int) -> Gemma3ForCausalLM:
    """Seven blocks, of which the sixth attends to everything and the others to a window of eight tokens."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=7,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=8,
        max_position_embeddings=64,
        sliding_window=8,
        rope_theta=5000.0,
    )
    model = Gemma3ForCausalLM(config).eval().requires_grad_(requires_grad=False)
    for weight in model.parameters():
        # Norms are written one larger: in steps that float32 adds to 1 without rounding.
        weight.normal_(0.0, 0.3).copy_((weight * 1024).round() / 1024)
    return model


def test_a_gemma3_gives_the_same_logits(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Its norms are stored one larger, embeddings are scaled, queries and keys normed, most blocks see a window."""
    model = tiny_gemma3(len(tokenizer))
    write_gguf(tmp_path / "tiny.gguf", model, tokenizer, architecture="gemma3")
    (tmp_path / "out").mkdir()
    convert_any(tmp_path / "tiny.gguf", tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert loaded.dtype is torch.float32
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    tokens = torch.randint(0, len(tokenizer), (2, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        check_same_model(loaded, model, tokens)


@pytest.mark.parametrize("tied", [True, False])
def test_the_converted_model_gives_the_same_logits(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, tied: bool
) -> None:
    model = tiny_llama(len(tokenizer), tied)
    write_gguf(tmp_path / "tiny.gguf", model, tokenizer)
    (tmp_path / "out").mkdir()
    convert_llama(tmp_path / "tiny.gguf", tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert loaded.dtype is torch.float32
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
    tokens = torch.randint(0, len(tokenizer), (2, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        check_same_model(loaded, model, tokens)


def test_the_converted_tokenizer_cuts_and_joins_alike(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    write_gguf(tmp_path / "tiny.gguf", tiny_llama(len(tokenizer), tied=True), tokenizer)
    (tmp_path / "out").mkdir()
    convert_llama(tmp_path / "tiny.gguf", tmp_path / "out")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "The quick brown fox<|end|> said on Monday"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.decode(loaded(text)["input_ids"], skip_special_tokens=True) == "The quick brown fox said on Monday"
    assert loaded.eos_token_id == 0


def test_unpermute_undoes_what_llama_cpp_does() -> None:
    weight = np.arange(16 * 3).reshape(16, 3)
    assert not np.array_equal(permute(weight, 2), weight)
    assert np.array_equal(unpermute(permute(weight, 2), 2), weight)


def test_another_architecture_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    write_gguf(tmp_path / "tiny.gguf", tiny_llama(len(tokenizer), tied=True), tokenizer, architecture="qwen2")
    with pytest.raises(ValueError, match="architecture qwen2: expected llama"):
        convert_llama(tmp_path / "tiny.gguf", tmp_path)
