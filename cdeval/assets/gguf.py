"""Turn a GGUF file, as llama.cpp has them, into a folder that transformers opens in a tenth of a second.

transformers can read the file itself (`gguf_file=`), but takes half a minute at every start, needs accelerate, and its
newer releases refuse to save what they read that way. A Llama is converted by the table below, which is the quicker
way; any other architecture that transformers reads by the code that it reads it with, without a model around the
numbers. The weights are the same, bit for bit.
"""

import re
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors import SafetensorError
from safetensors.numpy import save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    PretrainedConfig,
)
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

# Names of a Llama's weights: llama.cpp's on the left, transformers' on the right.
_OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_IN_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_BLOCK_NAME = re.compile(r"blk\.(\d+)\.(\w+)\.weight")


def convert_llama(file: Path, folder: Path) -> None:
    """Write the Llama model and byte-level BPE tokenizer of a GGUF file as `save_pretrained` would, in float32.

    Args: file: GGUF, architecture llama. folder: exists; gets config.json, model.safetensors and the tokenizer's files.
    Raises: ValueError: another architecture, or a weight that a Llama does not have. OSError: cannot be written.
    """
    reader = GGUFReader(file)
    config = _configuration(reader)
    weights: dict[str, np.ndarray] = {}
    for tensor in reader.tensors:
        values = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        if ".attn_q." in tensor.name:
            values = unpermute(values, config.num_attention_heads)
        elif ".attn_k." in tensor.name:
            values = unpermute(values, config.num_key_value_heads)
        weights[_translate(tensor.name)] = values
    config.tie_word_embeddings = "lm_head.weight" not in weights
    _save(file, config, weights, folder)


def convert_any(file: Path, folder: Path, config: PretrainedConfig | None = None) -> None:
    """Write the model and tokenizer of a GGUF file as `save_pretrained` would, in float32.

    Args: file: of any architecture that transformers reads. folder: as above. config: of the file, if it is known.
    Raises: OSError: cannot be written. Whatever transformers raises for a file that it cannot read.
    """
    if config is None:
        config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    with torch.device("meta"):  # the names of its weights are wanted, and no numbers
        shape = AutoModelForCausalLM.from_config(config)
    with redirect_stderr(StringIO()):  # it draws a bar of its own
        found = load_gguf_checkpoint(str(file), return_tensors=True, model_to_load=shape)["tensors"]
    _save(file, shape.config, {key: np.asarray(value, dtype=np.float32) for key, value in found.items()}, folder)


def _save(file: Path, config: PretrainedConfig, weights: dict[str, np.ndarray], folder: Path) -> None:
    try:
        save_file(
            {name: np.ascontiguousarray(values) for name, values in weights.items()},
            folder / "model.safetensors",
            metadata={"format": "pt"},
        )
    except SafetensorError as error:  # a full disk, mostly
        raise OSError(str(error)) from error
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)


def unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's reordering of the rows that rotary embeddings pair up.

    llama.cpp rotates neighbouring rows (0, 1), (2, 3), … of a head, transformers rows (0, d/2), (1, d/2 + 1), …

    Args: weight: [heads * d, inputs], rows in llama.cpp's order. heads: query or key heads.
    Returns: the same rows in transformers' order.
    Source: `LlamaModel.permute` in llama.cpp's convert_hf_to_gguf.py, of which this is the inverse.
    """
    rows = weight.reshape(heads, weight.shape[0] // heads // 2, 2, weight.shape[1])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def _translate(name: str) -> str:
    inside = _BLOCK_NAME.fullmatch(name)
    known = _IN_BLOCK.get(inside[2]) if inside else _OUTSIDE.get(name)
    if known is None:
        raise ValueError(f"{name} is not a weight of a Llama")
    return f"model.layers.{inside[1]}.{known}.weight" if inside else known


def _configuration(reader: GGUFReader) -> LlamaConfig:
    facts = {
        name: field.contents() for name, field in reader.fields.items() if not name.endswith((".tokens", ".merges"))
    }
    if facts["general.architecture"] != "llama":
        raise ValueError(f"a GGUF file of architecture {facts['general.architecture']}: expected llama")
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=len(reader.fields["tokenizer.ggml.tokens"].data),
        hidden_size=facts["llama.embedding_length"],
        intermediate_size=facts["llama.feed_forward_length"],
        num_hidden_layers=facts["llama.block_count"],
        num_attention_heads=facts["llama.attention.head_count"],
        num_key_value_heads=facts["llama.attention.head_count_kv"],
        max_position_embeddings=facts["llama.context_length"],
        rms_norm_eps=facts["llama.attention.layer_norm_rms_epsilon"],
        rope_theta=facts["llama.rope.freq_base"],
        bos_token_id=facts["tokenizer.ggml.bos_token_id"],
        eos_token_id=facts["tokenizer.ggml.eos_token_id"],
        pad_token_id=facts.get("tokenizer.ggml.padding_token_id"),
        dtype="float32",
    )
